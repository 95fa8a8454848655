"""Produces sample messages: ``produce-samples``."""

from random import Random

import click

from sluice.authoring.registration import register_versions
from sluice.authoring.sample_messages import make_samples, produce
from sluice.cli.console import build_loader, console, progress_bar, topic_argument
from sluice.cli.number_types import COUNT, SHARE
from sluice.contract import find


@click.command("produce-samples")
@topic_argument
@click.option("--count", type=COUNT, default=10_000, show_default=True, help="Number of messages.")
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    default=4,
    show_default=True,
    help="Number of partitions, if the topic is new.",
)
@click.option(
    "--broken", type=SHARE, default=0.004, show_default=True, help="Share of broken messages."
)
@click.option(
    "--tombstones", type=SHARE, default=0.004, show_default=True, help="Share of null values."
)
@click.option("--seed", type=int, help="Seed of the random values, for repeatable messages.")
def produce_samples(
    topic: str, count: int, partitions: int, broken: float, tombstones: float, seed: int | None
) -> None:
    """Produce sample messages of TOPIC: all versions, some broken messages, some tombstones.

    With a schema registry (SCHEMA_REGISTRY_URL), the contract's versions are registered, and half
    of the messages carry their schema id.
    """
    loader = build_loader(find(topic))
    if loader.broker.create_topic(topic, partitions):
        console.print(f"created topic {topic} with {partitions} partitions")
    with progress_bar() as bar:
        task = bar.add_task("producing", total=count)
        ids = register_versions(loader.registry, loader.contract) if loader.registry else {}
        messages = make_samples(loader.contract, count, Random(seed), broken, tombstones, ids)
        produce(loader.contract, loader.broker, messages, lambda done: bar.advance(task, done))
    console.print(f"produced {count:,} messages to {topic}")
