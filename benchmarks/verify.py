"""Measures how fast ``sluice verify`` audits: ``python -m benchmarks.verify``."""

import time

import click
import msgspec
from rich.console import Console
from rich.table import Table

from include.schemas.orders import contract as orders
from local.loaders import loader_of
from local.temporary import temporary_stack
from sluice.audit.verify.verifier import Verifier
from sluice.loader import Loader
from sluice.ranges import OffsetRange
from sluice.store.load_state import State
from sluice.store.topic_state import Entry

console = Console(highlight=False)

REFUSED_EVERY = 250
"""One in so many offsets is in quarantine, so that the target's offsets have gaps."""


@click.command()
@click.option("--offsets", default=10_000_000, show_default=True, help="Offsets in total.")
@click.option("--partitions", default=4, show_default=True, help="Partitions of the topic.")
@click.option("--repeat", default=3, show_default=True, help="Audits; the median is printed.")
def main(offsets: int, partitions: int, repeat: int) -> None:
    """Fill target, quarantine and ledger as loads would, and audit them.

    The baseline is the engine's own count of the target's distinct offsets in the same run.
    """
    with temporary_stack(console) as stack:
        contract = msgspec.structs.replace(orders, topic="verified")
        loader = loader_of(stack, contract, "benchmark")
        with console.status(f"inserting {offsets:,} offsets"):
            _fill(loader, offsets, partitions)
        counted, audited = [], []
        for _ in range(repeat):
            counted.append(_time_count(loader))
            with console.status("auditing"):
                verdict = Verifier(
                    loader.contract, loader.broker, loader.clickhouse, loader.ledger
                ).run()
            if verdict.findings:
                raise click.ClickException(verdict.findings[0].text)
            audited.append(verdict.seconds)
        table = Table("", "seconds", "offsets/s", title=f"{offsets:,} offsets")
        for name, times in (("uniqExact of the target", counted), ("sluice verify", audited)):
            seconds = sorted(times)[len(times) // 2]
            table.add_row(name, f"{seconds:.2f}", f"{offsets / seconds:,.0f}")
        console.print(table)


def _fill(loader: Loader, offsets: int, partitions: int) -> None:
    topic, database = loader.contract.topic, loader.ledger.database
    loader.broker.create_topic(topic, partitions)
    loader.create_tables()
    per_partition = offsets // partitions
    ranges = [OffsetRange(p, 0, per_partition) for p in range(partitions)]
    reservation = Entry(
        load_id="load", state=State.RESERVED, owner="benchmark", chunks=(tuple(ranges),)
    )
    loader.ledger.log(topic).append(reservation)
    refused = f"number % {REFUSED_EVERY} = 7"
    for p in range(partitions):
        loader.clickhouse.execute(
            "INSERT INTO orders (order_id, _topic, _partition, _offset, _load_id)"
            f" SELECT toString(number), '{topic}', {p}, number, 'load'"
            f" FROM numbers({per_partition}) WHERE NOT ({refused})"
        )
        loader.clickhouse.execute(
            f"INSERT INTO {database}.quarantine_rows (load_id, attempt, topic, partition, offset,"
            f" reason) SELECT 'load', 'a', '{topic}', {p}, number, 'not_json'"
            f" FROM numbers({per_partition}) WHERE {refused}"
        )
    loader.clickhouse.execute(
        f"INSERT INTO {database}.load_chunks (load_id, topic, chunk, attempt)"
        f" VALUES ('load', '{topic}', 0, 'a')"
    )
    for state in (State.AUDITED, State.PUBLISHING, State.PUBLISHED):
        loader.ledger.record("load", topic, state, "benchmark")


def _time_count(loader: Loader) -> float:
    began = time.monotonic()
    loader.clickhouse.rows("SELECT uniqExact(_partition, _offset) AS n FROM orders")
    return time.monotonic() - began


if __name__ == "__main__":
    main()
