"""``python -m tests.chaos``: rounds of chaos, each from a seed of its own."""

import sys
import tempfile
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from local.stack import Ports, Stack
from tests.chaos.rounds import Round, RoundFailed

console = Console(highlight=False)


@click.command()
@click.option("--seed", default=1, show_default=True, help="Seed of the first round.")
@click.option("--rounds", default=20, show_default=True, help="Rounds, each with the next seed.")
@click.option("--keep-going", is_flag=True, help="Go on after a round that failed.")
def main(seed: int, rounds: int, keep_going: bool) -> None:
    """Disturb loads in every way there is, and have each round's result audited.

    Starts a broker and an engine of its own. A failing round prints what was done, what was found,
    and the command that repeats it.
    """
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    stack = Stack(folder, Ports.free())
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
        with bar:
            task = bar.add_task("", total=rounds, seed=seed)
            for number in range(seed, seed + rounds):
                bar.update(task, seed=number)
                this = time.monotonic()
                try:
                    disturbed = Round(stack, number, folder)
                    disturbed.run()
                except Exception as error:
                    failed.append(number)
                    console.print(f"seed {number}: failed: {error}", style="red", soft_wrap=True)
                    if not isinstance(error, RoundFailed):
                        console.print_exception()  # of the harness, not of what it looks at
                    if not keep_going:
                        break
                else:
                    took = time.monotonic() - this
                    acts = sum(" " in line for line in disturbed.story)
                    console.print(f"seed {number}: good ({acts} events, {took:.1f} s)")
                bar.advance(task)
    finally:
        stack.stop()
    minutes = (time.monotonic() - began) / 60
    if failed:
        console.print(f"{len(failed)} rounds failed: seeds {failed}; state and logs in {folder}")
        sys.exit(1)
    stack.clean()
    console.print(f"{rounds} rounds, every offset exactly once ({minutes:.1f} min)")


main()
