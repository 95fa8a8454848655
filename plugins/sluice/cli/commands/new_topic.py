"""Writes the contract file of a new topic: ``new-topic``."""

import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from sluice.authoring.new_topic import sampling, trial
from sluice.authoring.new_topic.choices import Choices, describe
from sluice.authoring.new_topic.description import Draft, SkippedFields
from sluice.authoring.new_topic.engine_trial import engine_notes
from sluice.authoring.new_topic.formatter import format_source
from sluice.authoring.new_topic.hints import NO_HINTS
from sluice.authoring.new_topic.inference import infer
from sluice.authoring.new_topic.json_schema import read_schema
from sluice.authoring.new_topic.registered import RegisteredMessages
from sluice.authoring.new_topic.target import Target, check_unused, choose_target
from sluice.authoring.new_topic.writer import source_of
from sluice.cli.console import console
from sluice.cli.prompts import ask_choices, ask_message
from sluice.contract import Contract
from sluice.contract.discovery import contracts_folder
from sluice.errors import ContractError, SettingsError
from sluice.kafka.broker import Broker
from sluice.kafka.schema_registry import SchemaRegistry, registry_from_environment
from sluice.settings import Settings, connection_from_environment


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """What the fields were made of.

    Attributes:
        draft: the description of the messages.
        sampled: the messages that it was made of; empty unless they were read from the topic.
        registry: the registry that their schemas are in, if one is configured.
    """

    draft: Draft
    sampled: Sequence[sampling.SampledMessage] = ()
    registry: SchemaRegistry | None = None


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
    "--protobuf",
    default="",
    metavar="MODULE:CLASS",
    help="The generated class of Protobuf messages, with --from-topic.",
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
@click.option("--module", default="", help="Name of the file, without .py; also of the table.")
@click.option("--table", default="", help="Name of the table.")
@click.option("--force", is_flag=True, help="Overwrite the topic's existing file.")
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
    protobuf: str,
    skipped: tuple[str, ...],
    key: str,
    order_by: tuple[str, ...],
    owner: str,
    module: str,
    table: str,
    force: bool,
    output: Path | None,
) -> None:
    """Write a documented contract file for TOPIC.

    The fields come from prompts, from a JSON Schema, or from the messages of the topic. Guesses are
    marked with '# review:' in the file.
    """
    if json_schema and from_topic:
        raise click.UsageError("choose one of --json-schema and --from-topic")
    if protobuf and not from_topic:
        raise click.UsageError("--protobuf requires --from-topic")
    target = choose_target(topic, output or contracts_folder(), module, table)
    notes = check_unused(topic, target, force)
    choices = Choices(key=key, order_by=order_by, owner=owner, table=target.table)
    today, skipped_fields = datetime.now(UTC).date(), SkippedFields(skipped)
    if json_schema:
        source = _Source(draft=read_schema(json_schema.read_bytes(), topic, skipped_fields))
    elif from_topic:
        message_class = _protobuf_class(protobuf) if protobuf else None
        source = _from_topic(topic, messages, skipped_fields, today.isoformat(), message_class)
    else:
        skipped_fields.check()
        source = _Source(draft=ask_message(topic))
        choices = ask_choices(topic, source.draft, choices)
    text = source_of(describe(topic, source.draft, choices, today))
    _write(target, topic, text, [*notes, *source.draft.notes], source)


def _write(target: Target, topic: str, text: str, notes: list[str], source: _Source) -> None:
    """Test the contract, write its formatted file, and print the notes."""
    path = target.path
    formatted = format_source(text)
    text = text if formatted is None else formatted
    with trial.import_draft(text) as contract:
        notes += trial.trial_notes(contract, source.sampled, source.registry)
        notes += _try_on_engine(contract, source)
    if formatted is None:
        notes.append(f"{path.name} is not formatted: install ruff, or run your formatter")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for note in notes:
        console.print(note, markup=False, soft_wrap=True)
    marks = text.count("# review:")
    console.print(f"wrote {path}, with {marks} places marked '# review:'", soft_wrap=True)
    console.print(
        f"next: sluice load {topic}; sluice ddl --write; sluice schema samples --write",
        soft_wrap=True,
    )


def _try_on_engine(contract: Contract, source: _Source) -> list[str]:
    """Load a sample through ClickHouse; a note if none is configured."""
    settings = Settings()
    try:
        connection = connection_from_environment(settings.clickhouse_conn_id)
    except SettingsError as error:
        return [f"the contract was not tried on ClickHouse: {error}"]
    messages = trial.decoded(contract, source.sampled, source.registry)
    with console.status("trying the contract on ClickHouse"):
        return engine_notes(contract, messages, connection, settings.database)


def _from_topic(
    topic: str, count: int, skipped: SkippedFields, day: str, message_class: type | None
) -> _Source:
    """A draft that is inferred from the newest messages of the topic, and those messages."""
    settings = Settings()
    broker = Broker(connection_from_environment(settings.kafka_conn_id), settings)
    registry = registry_from_environment(f"{topic}-value")
    registered = RegisteredMessages(registry, topic, message_class) if registry else None
    with console.status("reading messages"):
        sample = sampling.sample_newest(broker, topic, count, registered)
    messages = list(sample.messages)
    hints = registered.hints if registered else NO_HINTS
    draft = infer([message.object for message in messages], topic, skipped, hints)
    draft = msgspec.structs.replace(
        draft,
        sections={"Characteristics": sampling.characteristics(messages, day)},
        history=f"First version, made from {len(messages):,} messages of the topic.",
        version=sampling.version_of(messages),
        notes=(*sampling.sample_notes(sample), *draft.notes),
        protobuf=registered.protobuf if registered else None,
    )
    return _Source(draft=draft, sampled=messages, registry=registry)


def _protobuf_class(text: str) -> type:
    """The class that ``--protobuf`` names.

    Raises:
        ContractError: it does not exist.
    """
    module, _, name = text.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ContractError(f"--protobuf {text!r} cannot be imported: {error}") from error
    if not isinstance(found, type) or not hasattr(found, "DESCRIPTOR"):
        raise ContractError(f"--protobuf {text!r} is not a generated Protobuf class")
    return found
