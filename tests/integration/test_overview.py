"""The overview of topics: loads of the last day, and the state of the last load before."""

import msgspec

from sluice.airflow.pages.overview import HEIGHT, WIDTH, Overview
from sluice.contract import Contract
from tests.conftest import MakeLoader, load
from tests.loads import filled


def test_the_overview_adds_up_the_last_day_and_has_the_last_load_of_each_topic(
    make_loader: MakeLoader, contract: Contract
) -> None:
    breaker = msgspec.structs.replace(contract.breaker, max_refused_share=1)
    contract = msgspec.structs.replace(contract, breaker=breaker)
    loader = filled(make_loader, contract, 300, broken_share=0.05)
    reports = [loader.report(load(loader))]
    again = filled(make_loader, contract, 200)
    reports.append(again.report(load(again)))
    database = loader.ledger.database
    # Another topic had its last load three days ago, and it was given up.
    loader.clickhouse.execute(
        f"INSERT INTO {database}.topic_log (topic, entry, writer, load_id, state, at) SELECT 'old',"
        " number + 1, 'w', 'old_1', ['reserved', 'abandoned'][number + 1],"
        " now64(6) - toIntervalDay(3) FROM numbers(2)"
    )
    tables = {contract.topic: "orders", "old": "old_table", "never": "never_table"}
    mine, old, never = Overview(loader.clickhouse, database).rows(tables)

    assert (mine.topic, mine.table, mine.state, mine.loads) == (
        contract.topic,
        "orders",
        "published",
        2,
    )
    assert mine.rows == sum(report.sum("loaded") for report in reports)
    assert mine.refused == mine.quarantined == sum(r.sum("quarantined") for r in reports) > 0
    assert mine.lag == 0
    assert mine.bars.count("M") == 2
    assert mine.bars.startswith(f"M{WIDTH - 5} {HEIGHT}h5v-")  # planned now: at the right end
    assert mine.refused_bars.count("M") == sum(r.sum("quarantined") > 0 for r in reports)
    assert (old.state, old.loads, old.rows, old.lag) == ("abandoned", 0, 0, None)
    assert (never.state, never.last_at, never.loads, never.bars) == ("", None, 0, "")
