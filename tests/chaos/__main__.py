"""``python -m tests.chaos``: rounds of fault injection, each with its own seed."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from local.stack import Ports, Stack
from tests.chaos.replicas import MODES, second_engine
from tests.chaos.rounds import Round, RoundFailed

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
def main(seed: int, rounds: int, keep_going: bool, replicas: str | None) -> None:
    """Inject faults into loads, and audit the result of each round.

    Starts its own broker and engine. A failing round prints the faults, the findings, and the
    command that repeats it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    stack = Stack(folder, Ports.free())
    second: Stack | None = None
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
        with console.status("starting Kafka and ClickHouse"):
            stack.up("kafka", "clickhouse")
            if replicas:
                second = second_engine(stack, folder / "second")
        with bar:
            task = bar.add_task("", total=rounds, seed=seed)
            for number in range(seed, seed + rounds):
                bar.update(task, seed=number)
                round_began = time.monotonic()
                try:
                    this_round = Round(stack, number, folder, second, replicas or "")
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


main()
