"""``python -m local``: start and stop the local stack, show its state, run the demo."""

import sys
from functools import partial

import click
from rich.console import Console
from rich.status import Status

from local.demo import run_demo
from local.process import NotReady
from local.stack import ALL, SERVICES, Stack, default_stack

console = Console(highlight=False)
names = click.argument("services", nargs=-1, type=click.Choice(ALL))


@click.group()
def main() -> None:
    """Run Kafka, ClickHouse and Airflow on this machine, without Docker; state is in .local."""


@main.command()
@names
def up(services: tuple[str, ...]) -> None:
    """Start services (all but the registry by default) and wait until they are ready."""
    stack = default_stack()
    chosen = services or SERVICES
    started = stack.start(chosen)
    wait(stack, chosen)
    for name in chosen:
        console.print(f"{name:<11} {'started' if name in started else 'already running'}")


@main.command()
@names
def down(services: tuple[str, ...]) -> None:
    """Stop services (all by default); their data is kept."""
    with console.status("stopping"):
        stopped = default_stack().stop(services or ALL)
    console.print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@main.command()
def status() -> None:
    """Show the state, address and log file of each service."""
    stack = default_stack()
    for name, service in stack.services.items():
        process = service.process()
        state = "ready" if process and service.running() else "starting" if process else "stopped"
        port = getattr(stack.ports, name)
        console.print(f"{name:<11} {state:<9} 127.0.0.1:{port:<6} {service.log}", soft_wrap=True)


@main.command()
def clean() -> None:
    """Stop all services and delete their data."""
    with console.status("stopping services and deleting data"):
        default_stack().clean()


@main.command()
@click.option(
    "--messages", default=20_000, show_default=True, help="Number of sample orders to produce."
)
@click.option(
    "--registry",
    is_flag=True,
    help="Start a schema registry, too, and put schema ids into the messages.",
)
def demo(messages: int, registry: bool) -> None:
    """Start the stack, produce sample orders, load them with Airflow, and show the result."""
    run_demo(default_stack(), messages, console, registry)


def wait(stack: Stack, chosen: tuple[str, ...]) -> None:
    """Wait for services one by one; show which one and for how long."""
    for name in chosen:
        with console.status("") as spinner:
            stack.services[name].wait(partial(_show_wait, spinner, name))


def _show_wait(spinner: Status, name: str, seconds: float) -> None:
    spinner.update(f"{name} is starting, {seconds:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except (NotReady, RuntimeError) as error:
        console.print(f"[red]{error}[/red]", soft_wrap=True)
        sys.exit(1)
