"""Prompts for a description of a topic's messages."""

from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from sluice.authoring.new_topic import answers
from sluice.authoring.new_topic.choices import Choices, default_key, default_order
from sluice.authoring.new_topic.description import (
    TO_BE_WRITTEN,
    Draft,
    Field,
    Object,
    Type,
    optional,
)
from sluice.errors import ContractError

T = TypeVar("T")


def ask_message(topic: str) -> Draft:
    """Prompt for the fields, one by one until an empty name, and for the messages' purpose."""
    click.echo(f"Enter the fields of a message of {topic}. An empty name ends the list.")
    fields: list[Field] = []
    while True:
        names = {field.key for field in fields}
        name = click.prompt(
            f"Field {len(fields) + 1}", default="" if fields else "id", show_default=not fields
        ).strip()
        if not name:
            break
        if name in names:
            click.echo(f"field {name} is already in the list")
            continue
        fields.append(_ask_field(name))
    if not fields:
        raise ContractError("a message needs at least one field")
    purpose = click.prompt("What is the purpose of the messages?", default=TO_BE_WRITTEN)
    return Draft(message=Object(topic, tuple(fields)), sections={"Purpose": purpose})


def _ask_field(name: str) -> Field:
    type_: Type = click.prompt(
        f"  type ({', '.join(answers.TYPE_NAMES)})",
        default=answers.suggested_type(name),
        value_proc=_parser(answers.type_of),
    )
    is_optional = click.confirm("  optional?", default=False)
    doc = click.prompt("  meaning", default=TO_BE_WRITTEN)
    field = Field(key=name, type=type_, doc=doc)
    return optional(field, missing=True, null=False) if is_optional else field


def ask_choices(topic: str, draft: Draft, choices: Choices) -> Choices:
    """Prompt for key, order and owner, unless an option of the command sets them."""
    message = draft.message
    key, order_by, owner = choices.key, choices.order_by, choices.owner
    if not key:
        key = click.prompt("Key", default=_or_empty(lambda: default_key(topic, message).key))
    if not order_by:
        fields = {field.key: field for field in message.fields}
        order = _or_empty(lambda: ", ".join(default_order(message, fields[key])))
        answer = click.prompt("Order by (columns, separated by commas)", default=order or "_offset")
        order_by = (answer,)
    if not owner:
        owner = click.prompt("Owner, the responsible team", default="unknown")
    return msgspec.structs.replace(choices, key=key, order_by=order_by, owner=owner)


def _or_empty(default: Callable[[], str]) -> str | None:
    """The default of a prompt; None if there is none, so that an answer is required."""
    try:
        return default()
    except (ContractError, KeyError):
        return None


def _parser(parse: Callable[[str], T]) -> Callable[[object], T]:
    """A parser of answers; after its errors, click prompts again."""

    def parsed(answer: object) -> T:
        try:
            return parse(str(answer))
        except ContractError as error:
            raise click.UsageError(str(error)) from error

    return parsed
