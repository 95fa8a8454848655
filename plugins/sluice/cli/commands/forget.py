"""Removes a topic from the ledger: ``forget``."""

import click

from sluice.cli.console import build_loader, console, topic_argument
from sluice.contract import find
from sluice.forget import describe_topic, forget_topic


@click.command()
@topic_argument
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def forget(topic: str, yes: bool) -> None:
    """Forget what was loaded of TOPIC, so that the next load reads everything that it still has.

    Use it after the target table was dropped, or the topic was recreated. The table must be gone,
    renamed or empty, and no load may run: pause the DAG.
    """
    loader = build_loader(find(topic))
    loader.ledger.create()
    record = describe_topic(loader)
    console.print(
        f"the ledger has {record.loads:,} loads of {topic}, which account for {record.offsets:,}"
        f" offsets; the topic still has {record.in_topic:,} of them, and the other"
        f" {record.offsets - record.in_topic:,} cannot be loaded again",
        soft_wrap=True,
    )
    if not yes:
        click.confirm(f"Forget all loads of {topic}?", abort=True)
    forget_topic(loader)
    console.print(f"forgot {topic}; 'sluice load {topic}' reads what it has", soft_wrap=True)
