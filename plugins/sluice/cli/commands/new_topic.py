"""A contract file for a topic that has none yet: ``new-topic``."""

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from sluice.authoring.new_topic import sampling, trial
from sluice.authoring.new_topic.choices import Choices, describe
from sluice.authoring.new_topic.description import Draft, SkippedFields
from sluice.authoring.new_topic.inference import infer
from sluice.authoring.new_topic.json_schema import read_schema
from sluice.authoring.new_topic.naming import module_name
from sluice.authoring.new_topic.writer import source_of
from sluice.cli.console import console
from sluice.cli.prompts import ask_choices, ask_message
from sluice.contract import discover
from sluice.contract.discovery import contracts_folder
from sluice.errors import ContractError
from sluice.kafka.broker import Broker
from sluice.settings import Settings, connection_from_environment


@click.command("new-topic")
@click.argument("topic")
@click.option(
    "--json-schema",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Make it from this JSON Schema.",
)
@click.option("--from-topic", is_flag=True, help="Make it from the topic's newest messages.")
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Messages to look at, with --from-topic.",
)
@click.option(
    "--skip-field",
    "skipped",
    multiple=True,
    metavar="NAME",
    help="Leave this field out, such as items.price; repeatable.",
)
@click.option("--key", default="", help="The field that identifies a message.")
@click.option(
    "--order-by", multiple=True, help="What the table is ordered by: columns, with commas between."
)
@click.option("--owner", default="", help="The team to call.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write to; the contracts' package by default.",
)
def new_topic(
    topic: str,
    json_schema: Path | None,
    from_topic: bool,
    messages: int,
    skipped: tuple[str, ...],
    key: str,
    order_by: tuple[str, ...],
    owner: str,
    force: bool,
    output: Path | None,
) -> None:
    """Write a documented contract file for TOPIC.

    It is made from your answers, from a JSON Schema, or from the messages that the topic has.
    What was guessed is marked with '# review:' in the file.
    """
    if json_schema and from_topic:
        raise click.UsageError("choose one of --json-schema and --from-topic")
    path = (output or contracts_folder()) / f"{module_name(topic)}.py"
    _check_free(topic, path, force)
    choices = Choices(key=key, order_by=order_by, owner=owner)
    today, skips = datetime.now(UTC).date(), SkippedFields(skipped)
    samples: list[sampling.SampledMessage] = []
    if json_schema:
        found = read_schema(json_schema.read_bytes(), topic, skips)
    elif from_topic:
        found, samples = _from_topic(topic, messages, skips, today.isoformat())
    else:
        skips.check()
        found = ask_message(topic)
        choices = ask_choices(topic, found, choices)
    source = source_of(describe(topic, found, choices, today))
    with trial.import_draft(source) as contract:
        told = [*found.told, *trial.trial_notes(contract, samples)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    for text in told:
        console.print(text, markup=False, soft_wrap=True)
    marks = source.count("# review:")
    console.print(f"wrote {path}, with {marks} places marked '# review:'", soft_wrap=True)
    console.print(f"next: sluice load {topic}; sluice ddl --write; sluice schema samples --write")


def _check_free(topic: str, path: Path, force: bool) -> None:
    """Refuse to write over a file, and to claim a topic or a table that has a contract."""
    if path.exists() and not force:
        raise ContractError(f"{path} is there already; --force writes over it")
    if path.parent.resolve() != contracts_folder().resolve():
        return
    try:
        contracts = discover()
    except Exception as error:  # whatever the module of a contract does when imported
        raise ContractError(f"the contracts that there are cannot be imported: {error}") from error
    for other in contracts.values():
        if other.message.__module__.rpartition(".")[2] == path.stem:
            continue
        if other.topic == topic or other.table.name == path.stem:
            raise ContractError(
                f"{other.message.__module__} is a contract of topic {other.topic!r}, which loads"
                f" into {other.table.name!r}, already"
            )


def _from_topic(
    topic: str, count: int, skips: SkippedFields, day: str
) -> tuple[Draft, list[sampling.SampledMessage]]:
    """What the newest messages of the topic have in common, and those messages."""
    settings = Settings()
    broker = Broker(connection_from_environment(settings.kafka_conn_id), settings)
    with console.status("reading messages"):
        sampled = sampling.sample_newest(broker, topic, count)
    samples = list(sampled.samples)
    found = infer([sample.seen for sample in samples], topic, skips)
    return msgspec.structs.replace(
        found,
        sections={"Characteristics": sampling.characteristics(samples, day)},
        history=f"First version, made from {len(samples):,} messages of the topic.",
        version=sampling.version_of(samples),
        told=(*sampling.sample_notes(sampled), *found.told),
    ), samples
