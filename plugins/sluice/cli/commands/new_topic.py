"""Writes the contract file of a new topic: ``new-topic``."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from sluice.authoring.new_topic import sampling, trial
from sluice.authoring.new_topic.choices import Choices, describe
from sluice.authoring.new_topic.description import Draft, SkippedFields
from sluice.authoring.new_topic.formatter import format_source
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
    help="Read the fields from this JSON Schema.",
)
@click.option("--from-topic", is_flag=True, help="Infer the fields from the newest messages.")
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Number of messages to sample with --from-topic.",
)
@click.option(
    "--skip-field",
    "skipped",
    multiple=True,
    metavar="NAME",
    help="Leave out this field, such as items.price; repeatable.",
)
@click.option("--key", default="", help="The field that identifies a message.")
@click.option(
    "--order-by", multiple=True, help="The order of the table: columns, separated by commas."
)
@click.option("--owner", default="", help="The responsible team.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the file; by default the contracts' package.",
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

    The fields come from prompts, from a JSON Schema, or from the messages of the topic. Guesses are
    marked with '# review:' in the file.
    """
    if json_schema and from_topic:
        raise click.UsageError("choose one of --json-schema and --from-topic")
    path = (output or contracts_folder()) / f"{module_name(topic)}.py"
    _check_unused(topic, path, force)
    choices = Choices(key=key, order_by=order_by, owner=owner)
    today, skipped_fields = datetime.now(UTC).date(), SkippedFields(skipped)
    sampled: list[sampling.SampledMessage] = []
    if json_schema:
        draft = read_schema(json_schema.read_bytes(), topic, skipped_fields)
    elif from_topic:
        draft, sampled = _from_topic(topic, messages, skipped_fields, today.isoformat())
    else:
        skipped_fields.check()
        draft = ask_message(topic)
        choices = ask_choices(topic, draft, choices)
    _write(path, topic, source_of(describe(topic, draft, choices, today)), draft.notes, sampled)


def _write(
    path: Path,
    topic: str,
    source: str,
    notes: Sequence[str],
    sampled: Sequence[sampling.SampledMessage],
) -> None:
    """Test the contract, write its formatted file, and print the notes."""
    formatted = format_source(source)
    text = source if formatted is None else formatted
    with trial.import_draft(text) as contract:
        notes = [*notes, *trial.trial_notes(contract, sampled)]
    if formatted is None:
        notes.append(f"{path.name} is not formatted: install ruff, or run your formatter")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    marks = text.count("# review:")
    console.print(f"wrote {path}, with {marks} places marked '# review:'", soft_wrap=True)
    console.print(f"next: sluice load {topic}; sluice ddl --write; sluice schema samples --write")


def _check_unused(topic: str, path: Path, force: bool) -> None:
    """Refuse an existing file, and a topic or a table that has a contract."""
    if path.exists() and not force:
        raise ContractError(f"{path} already exists; --force overwrites it", topic=topic)
    if path.parent.resolve() != contracts_folder().resolve():
        return
    try:
        contracts = discover()
    except Exception as error:  # the import of a contract's module can raise anything
        raise ContractError(f"the existing contracts cannot be imported: {error}") from error
    for other in contracts.values():
        if other.message.__module__.rpartition(".")[2] == path.stem:
            continue
        if other.topic == topic or other.table.name == path.stem:
            raise ContractError(
                f"{other.message.__module__} is already its contract, with table"
                f" {other.table.name!r}",
                topic=other.topic,
            )


def _from_topic(
    topic: str, count: int, skipped: SkippedFields, day: str
) -> tuple[Draft, list[sampling.SampledMessage]]:
    """A draft that is inferred from the newest messages of the topic, and those messages."""
    settings = Settings()
    broker = Broker(connection_from_environment(settings.kafka_conn_id), settings)
    with console.status("reading messages"):
        sample = sampling.sample_newest(broker, topic, count)
    messages = list(sample.messages)
    draft = infer([message.object for message in messages], topic, skipped)
    return msgspec.structs.replace(
        draft,
        sections={"Characteristics": sampling.characteristics(messages, day)},
        history=f"First version, made from {len(messages):,} messages of the topic.",
        version=sampling.version_of(messages),
        notes=(*sampling.sample_notes(sample), *draft.notes),
    ), messages
