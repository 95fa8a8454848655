"""``python -m tests.chaos``: rounds of fault injection, each with its own seed."""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import click
from pydantic import SecretStr
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from local.stack import Ports, Stack
from sluice.settings import Connection, parse_connection
from tests.chaos.replicas import MODES, second_engine
from tests.chaos.rounds import Round, RoundFailed, Servers

console = Console(highlight=False)


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option(
    "--rounds", default=20, show_default=True, help="Number of rounds; each uses the next seed."
)
@click.option("--keep-going", is_flag=True, help="Continue after a failed round.")
@click.option(
    "--replicas",
    type=click.Choice(["all", *MODES]),
    help="Two engines behind one address, the second one lagging behind in this way.",
)
@click.option("--kafka", metavar="HOST:PORT", help="A broker, in place of one of its own.")
@click.option(
    "--clickhouse",
    metavar="HOST:PORT",
    help="ClickHouse's HTTP interface, in place of an engine of its own; the password of the user"
    " 'default' is read from CLICKHOUSE_PASSWORD.",
)
@click.option("--cluster", default="", help="The cluster whose servers replicate the databases.")
@click.option("--disturb", default="", help="A command that kills a server and starts it again.")
def main(
    seed: int,
    rounds: int,
    keep_going: bool,
    replicas: str | None,
    kafka: str | None,
    clickhouse: str | None,
    cluster: str,
    disturb: str,
) -> None:
    """Inject faults into loads, and audit the result of each round.

    Starts its own broker and engine, unless it is given others. A failing round prints the faults,
    the findings, and the command that repeats it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    stack = Stack(folder, Ports.free())
    second: Stack | None = None
    if bool(kafka) != bool(clickhouse):
        raise click.UsageError("--kafka and --clickhouse belong together")
    failed, began = [], time.monotonic()
    bar = Progress(
        TextColumn("seed {task.fields[seed]}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total} rounds"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    try:
        if kafka and clickhouse:
            servers = _given(kafka, clickhouse)._replace(cluster=cluster, disturb=disturb)
        else:
            with console.status("starting Kafka and ClickHouse"):
                stack.up("kafka", "clickhouse")
                if replicas:
                    second = second_engine(stack, folder / "second")
            servers = Servers(
                stack.connections["AIRFLOW_CONN_KAFKA_DEFAULT"],
                parse_connection(stack.connections["AIRFLOW_CONN_CLICKHOUSE_DEFAULT"]),
                stack,
                second,
                replicas or "",
            )
        with bar:
            task = bar.add_task("", total=rounds, seed=seed)
            for number in range(seed, seed + rounds):
                bar.update(task, seed=number)
                round_began = time.monotonic()
                try:
                    this_round = Round(servers, number, folder)
                    this_round.run()
                except Exception as error:
                    failed.append(number)
                    console.print(f"seed {number}: failed: {error}", style="red", soft_wrap=True)
                    if not isinstance(error, RoundFailed):
                        console.print_exception()  # an error of the harness, not of the loads
                    if not keep_going:
                        break
                else:
                    seconds = time.monotonic() - round_began
                    events = sum(" " in line for line in this_round.events)
                    console.print(f"seed {number}: passed ({events} events, {seconds:.1f} s)")
                bar.advance(task)
    finally:
        stack.stop()
        if second:
            second.stop()
    minutes = (time.monotonic() - began) / 60
    if failed:
        console.print(f"{len(failed)} rounds failed: seeds {failed}; state and logs in {folder}")
        sys.exit(1)
    stack.clean()
    console.print(f"{rounds} rounds passed: every offset exactly once ({minutes:.1f} min)")


def _given(kafka: str, clickhouse: str) -> Servers:
    """Servers that were started elsewhere."""
    host, _, port = clickhouse.rpartition(":")
    password = os.environ.get("CLICKHOUSE_PASSWORD", "")
    if not host or not port.isdecimal() or not password:
        raise click.UsageError(
            "--clickhouse is HOST:PORT, with CLICKHOUSE_PASSWORD in the environment"
        )
    connection = {"conn_type": "kafka", "extra": {"bootstrap.servers": kafka}}
    return Servers(
        json.dumps(connection),
        Connection(host=host, port=int(port), login="default", password=SecretStr(password)),
    )


main()
