"""Messages to try things with: ``produce-samples``."""

from random import Random

import click

from sluice.authoring.registration import register_versions
from sluice.authoring.sample_messages import make_samples, produce
from sluice.cli.console import build_loader, console, progress_bar, topic_argument
from sluice.contract import find


@click.command("produce-samples")
@topic_argument
@click.option("--count", default=10_000, show_default=True, help="Messages to produce.")
@click.option("--partitions", default=4, show_default=True, help="Of the topic, if it is new.")
@click.option("--broken", default=0.004, show_default=True, help="Share of broken messages.")
@click.option("--tombstones", default=0.004, show_default=True, help="Share of null values.")
@click.option("--seed", type=int, help="For the same messages each time.")
def produce_samples(
    topic: str, count: int, partitions: int, broken: float, tombstones: float, seed: int | None
) -> None:
    """Produce sample messages of TOPIC: every version, some broken, some tombstones.

    With a schema registry (SCHEMA_REGISTRY_URL), the contract's versions are registered and
    half of the messages carry the id of theirs.
    """
    loader = build_loader(find(topic))
    if loader.broker.create_topic(topic, partitions):
        console.print(f"created topic {topic} with {partitions} partitions")
    with progress_bar() as bar:
        task = bar.add_task("producing", total=count)
        ids = register_versions(loader.registry, loader.contract) if loader.registry else {}
        made = make_samples(loader.contract, count, Random(seed), broken, tombstones, ids)
        produce(loader.contract, loader.broker, made, lambda done: bar.advance(task, done))
    console.print(f"produced {count:,} messages to {topic}")
