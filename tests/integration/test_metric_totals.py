"""Totals of metrics: added up as loads report, from those of older releases too."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from sluice.contract import Contract
from sluice.errors import EngineError
from sluice.report.metrics import MetricValue, render_openmetrics, save_metrics
from sluice.report.model import Report
from sluice.settings import Settings
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import State
from sluice.store.topic_log import TopicLog
from sluice.store.topic_state import Entry
from tests.conftest import MakeLoader, load
from tests.integration.test_topic_log import bring_up_at_once, run_dump
from tests.loads import filled

AT = datetime(2026, 1, 1, tzinfo=UTC)


def report(load_id: str) -> Report:
    return Report(
        load_id=load_id,
        topic="t",
        table="t",
        owner="x",
        state="published",
        error="",
        planned_at=AT,
        ended_at=AT,
        ranges=[],
    )


def exposed(clickhouse: ClickHouse, database: str) -> dict[str, float]:
    """Sample → value, of the metrics that have any."""
    lines = render_openmetrics(clickhouse, database).splitlines()
    samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {name: float(value) for name, _, value in samples}


def read(rows: float, reason: str = "not_json") -> list[MetricValue]:
    return [
        MetricValue("sluice.upgraded", rows),
        MetricValue("sluice.refused", 1, {"reason": reason}),
        MetricValue("sluice.load.end", 1000 + rows),
    ]


def test_the_last_values_of_each_load_are_added_up(
    clickhouse: ClickHouse, settings: Settings
) -> None:
    database = settings.database
    Ledger(clickhouse, database).create()
    save_metrics(clickhouse, database, report("a"), read(5))
    save_metrics(clickhouse, database, report("b"), read(7))
    first = {
        'sluice_upgraded_total{topic="t"}': 12,
        'sluice_refused_total{reason="not_json",topic="t"}': 2,
        'sluice_load_end{topic="t"}': 1007,
    }
    assert exposed(clickhouse, database) == first
    # The report is made again: what it says now is valid, not the sum.
    for _ in range(3):
        save_metrics(clickhouse, database, report("a"), read(3, "not_utf8"))
    assert exposed(clickhouse, database) == {
        'sluice_upgraded_total{topic="t"}': 10,
        'sluice_refused_total{reason="not_json",topic="t"}': 2,
        'sluice_refused_total{reason="not_utf8",topic="t"}': 1,
        'sluice_load_end{topic="t"}': 1003,
    }


def test_a_save_that_is_interrupted_before_the_totals_is_completed_by_its_retry(
    clickhouse: ClickHouse, settings: Settings
) -> None:
    """The rows are stored, the view fails, and the client repeats the insert."""
    database = settings.database
    Ledger(clickhouse, database).create()
    row = {"load_id": "a", "topic": "t", "name": "sluice.upgraded", "value": 5, "difference": 5}
    table = f"{database}.metrics"
    totals = f"{database}.metric_totals"
    clickhouse.execute(f"ALTER TABLE {totals} ADD CONSTRAINT none CHECK total > 1e9")
    with pytest.raises(EngineError) as refused:
        clickhouse.insert(table, [row], "one token")
    assert refused.value.code == 469
    assert exposed(clickhouse, database) == {}
    assert clickhouse.rows(f"SELECT count() AS n FROM {table}") == [{"n": 1}]
    clickhouse.execute(f"ALTER TABLE {totals} DROP CONSTRAINT none")
    for _ in range(2):
        clickhouse.insert(table, [row], "one token")
    assert exposed(clickhouse, database) == {'sluice_upgraded_total{topic="t"}': 5}
    assert clickhouse.rows(f"SELECT count() AS n FROM {table}") == [{"n": 1}]


def test_concurrent_reports_of_one_load_count_once(
    clickhouse: ClickHouse, settings: Settings
) -> None:
    Ledger(clickhouse, settings.database).create()
    with ThreadPoolExecutor(4) as pool:
        saves = [
            pool.submit(save_metrics, clickhouse, settings.database, report("a"), read(5))
            for _ in range(8)
        ]
    for save in saves:
        save.result()
    assert exposed(clickhouse, settings.database)['sluice_upgraded_total{topic="t"}'] == 5


def test_messages_in_quarantine_are_counted_when_a_load_ends(
    make_loader: MakeLoader, contract: Contract
) -> None:
    contract = msgspec.structs.replace(
        contract, breaker=msgspec.structs.replace(contract.breaker, max_refused_share=1)
    )
    loader = filled(make_loader, contract, 300, broken_share=0.1)
    load_id = load(loader)
    loader.report(load_id)
    database = loader.ledger.database
    (counted,) = loader.clickhouse.rows(
        f"SELECT count() AS n FROM {database}.quarantine WHERE status = 'quarantined'"
    )
    found = exposed(loader.clickhouse, database)
    assert found[f'sluice_quarantine_messages{{topic="{contract.topic}"}}'] == counted["n"] > 0


def test_the_records_of_version_3_are_kept(clickhouse: ClickHouse, settings: Settings) -> None:
    database = settings.database
    run_dump(clickhouse, database, 3)
    log = TopicLog(clickhouse, database, "t")
    for state in (State.RESERVED, State.AUDITED, State.PUBLISHING, State.PUBLISHED):
        log.append(Entry(load_id="a", state=state, owner="x"))
    common = {"load_id": "a", "topic": "t"}
    at = ["2026-01-01 00:00:00", "2026-02-01 00:00:00"]
    rows: dict[str, list[dict[str, Any]]] = {
        "load_chunks": [common | {"attempt": "0-a"}],
        "quarantine_rows": [common | {"attempt": "0-a", "offset": n} for n in range(3)],
        "metrics": [
            {"load_id": "a", "name": "sluice.upgraded", "value": 4, "at": at[0]},
            {"load_id": "a", "name": "sluice.upgraded", "value": 5, "at": at[1]},
            {"load_id": "b", "name": "sluice.upgraded", "value": 7, "at": at[0]},
            {"load_id": "b", "name": "sluice.load.end", "value": 90, "at": at[0]},
            {"load_id": "a", "name": "sluice.load.end", "value": 80, "at": at[1]},
        ],
        "reports": [common | {"owner": "x", "report": f"{n}", "at": at[n % 2]} for n in range(9)],
        "quality_results": [common | {"audit": "x", "column": f"{n}"} for n in range(9)],
        "data_docs": [common | {"document": f"{n}", "at": at[n % 2]} for n in range(9)],
    }
    rows["metrics"] = [{"topic": "t"} | row for row in rows["metrics"]]
    for table, given in rows.items():
        clickhouse.insert(f"{database}.{table}", given, table)

    bring_up_at_once(clickhouse, database)
    expected = {
        'sluice_upgraded_total{topic="t"}': 12,
        'sluice_load_end{topic="t"}': 80,
        'sluice_quarantine_messages{topic="t"}': 3,
    }
    assert exposed(clickhouse, database) == expected
    for table in ("reports", "quality_results", "data_docs"):
        (found,) = clickhouse.rows(
            f"SELECT count() AS n, (SELECT partition_key FROM system.tables WHERE database ="
            f" '{database}' AND name = '{table}') AS key FROM {database}.{table}"
        )
        assert found == {"n": 9, "key": "toYYYYMM(at)"}
        assert not clickhouse.has_table(database, f"{table}_3")
    # A load that an older release has reported is reported again.
    save_metrics(clickhouse, database, report("a"), read(6))
    assert exposed(clickhouse, database)['sluice_upgraded_total{topic="t"}'] == 13
