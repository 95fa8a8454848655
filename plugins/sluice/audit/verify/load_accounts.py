"""The accounts of published loads against the rows of the target that carry their ids."""

from collections.abc import Iterator, Sequence

from sluice.audit.verify.findings import Finding
from sluice.ranges import intersect
from sluice.sql import quote_identifier
from sluice.store.clickhouse import ClickHouse
from sluice.store.ledger import Ledger
from sluice.store.load_state import HeldRange


def check_accounts(
    topic: str, table: str, clickhouse: ClickHouse, ledger: Ledger
) -> Iterator[Finding]:
    """The loads whose number of rows is not the one of their account, partition by partition.

    A load is left out where another load has replaced or is replacing some of its rows: which of
    them were there before is not known. Those offsets are compared one by one.

    Args:
        table: the qualified and quoted name of the target.
    """
    held = ledger.held_ranges(topic)
    db = quote_identifier(ledger.database)
    rows = clickhouse.rows(
        "SELECT a.load_id AS load_id, a.partition AS partition, a.loaded AS said, t.rows AS rows"
        " FROM (SELECT load_id, partition, argMax(loaded, at) AS loaded"
        f"  FROM {db}.load_accounts WHERE topic = {{topic:String}}"
        "  GROUP BY load_id, partition) AS a"
        f" INNER JOIN (SELECT load_id, state FROM {db}.loads WHERE topic = {{topic:String}}) AS l"
        " ON l.load_id = a.load_id"
        " LEFT JOIN (SELECT toString(_load_id) AS load_id, _partition AS partition,"
        f"  count() AS rows FROM {table} WHERE _topic = {{topic:String}}"
        "  GROUP BY load_id, partition) AS t"
        " ON t.load_id = a.load_id AND t.partition = a.partition"
        " WHERE l.state = 'published' AND said != t.rows ORDER BY load_id, partition",
        {"topic": topic},
    )
    for row in rows:
        load_id, partition = row["load_id"], row["partition"]
        if not _is_replaced(load_id, partition, held):
            text = (
                f"load {load_id}, partition {partition}: its account says {row['said']} rows, and"
                f" the target has {row['rows']} of it"
            )
            yield Finding(kind="ledger", text=text)


def _is_replaced(load_id: str, partition: int, held: Sequence[HeldRange]) -> bool:
    """Whether a load of a higher revision replaces rows of a load in a partition."""
    mine = [h for h in held if h.load_id == load_id and h.range.partition == partition]
    revision = max((h.revision for h in mine), default=0)
    later = [h.range for h in held if h.kind == "replace" and h.revision > revision]
    return bool(intersect((h.range for h in mine), later))
