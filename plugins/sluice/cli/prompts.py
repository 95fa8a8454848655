"""Asking a person what a topic carries."""

from collections.abc import Callable
from typing import TypeVar

import click

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
    """The fields, one by one, until a name is left empty, and what the messages are for."""
    click.echo(f"The fields of a message of {topic}, one by one. An empty name ends the list.")
    fields: list[Field] = []
    while True:
        taken = {field.key for field in fields}
        name = click.prompt(
            f"Field {len(fields) + 1}", default="" if fields else "id", show_default=not fields
        ).strip()
        if not name:
            break
        if name in taken:
            click.echo(f"there is a field {name} already")
            continue
        fields.append(_ask_field(name))
    if not fields:
        raise ContractError("a message needs a field")
    purpose = click.prompt("What are the messages for?", default=TO_BE_WRITTEN)
    return Draft(message=Object(topic, tuple(fields)), sections={"Purpose": purpose})


def _ask_field(name: str) -> Field:
    type_: Type = click.prompt(
        f"  its type ({', '.join(answers.FORMS)})",
        default=answers.suggested_type(name),
        value_proc=_checked(answers.type_of),
    )
    missing = click.confirm("  may it be missing?", default=False)
    doc = click.prompt("  what does it mean?", default=TO_BE_WRITTEN)
    field = Field(key=name, type=type_, doc=doc)
    return optional(field, missing=True, null=False) if missing else field


def ask_choices(topic: str, found: Draft, choices: Choices) -> Choices:
    """Key, order and owner, as far as they were not given with the command."""
    message = found.message
    key, order_by, owner = choices.key, choices.order_by, choices.owner
    if not key:
        key = click.prompt("Key", default=_or_empty(lambda: default_key(topic, message).key))
    if not order_by:
        fields = {field.key: field for field in message.fields}
        order = _or_empty(lambda: ", ".join(default_order(message, fields[key])))
        answer = click.prompt("Order by (columns with commas between)", default=order or "_offset")
        order_by = (answer,)
    if not owner:
        owner = click.prompt("Owner, the team to call", default="unknown")
    return Choices(key=key, order_by=order_by, owner=owner)


def _or_empty(default: Callable[[], str]) -> str | None:
    """A default where there is one; without it, the question has to be answered."""
    try:
        return default()
    except (ContractError, KeyError):
        return None


def _checked(read: Callable[[str], T]) -> Callable[[object], T]:
    """A reader of answers whose errors ask again."""

    def checked(answer: object) -> T:
        try:
            return read(str(answer))
        except ContractError as error:
            raise click.UsageError(str(error)) from error

    return checked
