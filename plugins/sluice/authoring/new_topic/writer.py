"""The source of a contract file, from the description of its topic.

The source is valid Python, but only docstrings and comments are laid out: a formatter does the
rest (:mod:`.formatter`).
"""

import sys
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from sluice.authoring.new_topic import protobuf_source, wrapping
from sluice.authoring.new_topic.description import (
    TO_BE_WRITTEN,
    Bounds,
    Choice,
    Description,
    DictOf,
    Field,
    ListOf,
    Object,
    Scalar,
    Type,
    objects,
)
from sluice.authoring.new_topic.naming import attributes, class_name
from sluice.authoring.new_topic.values import value_of
from sluice.contract.discovery import contracts_package
from sluice.contract.docstrings import SECTIONS

_IMPORTS = {
    "base64": ("b64decode",),
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Literal"),
    "uuid": ("UUID",),
    "google.protobuf": ("descriptor_pb2", "message_factory"),
    "msgspec": ("Meta", "Struct", "field"),
    "sluice.contract": ("Contract", "Table", "Version", "column"),
}
"""Names that a file may import, by module, in the order of its imports."""


def source_of(description: Description) -> str:
    """The contract file, documented by the project's rules.

    Raises:
        ContractError: a default does not have the type of its field; ``field`` is the path.
    """
    return "\n".join(_Writer(description).lines()) + "\n"


class _Writer:
    """Writes one file; collects the names of its classes and the names that it imports."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._message = description.draft.message
        self._used = {"date", "Struct", "Contract", "Table", "Version"}
        self._classes: list[tuple[Object, str]] = []
        # The message is named first: its name is the topic's, whatever its parts are called.
        for struct in reversed(list(objects(self._message))):
            self._classes.insert(0, (struct, self._unused_name(class_name(struct.name))))

    def _unused_name(self, name: str) -> str:
        taken = {other for _, other in self._classes}
        number, stem = 2, name.removesuffix("Message")
        while name in taken:
            name, number = f"{stem}{number}Message", number + 1
        return name

    def _class_of(self, struct: Object) -> str:
        return next(name for other, name in self._classes if other == struct)

    def lines(self) -> list[str]:
        """The whole file, line by line."""
        classes = [line for struct, _ in self._classes for line in ("", "", *self._class(struct))]
        head = f'"""The contract of topic ``{self._description.topic}``."""'
        if len(head) > wrapping.WIDTH:
            head = '"""The contract of one topic."""'
        protobuf = self._description.draft.protobuf
        made = protobuf_source.descriptor_lines(protobuf) if protobuf else []
        return [head, "", *self._imports(), *made, *classes, "", "", *self._contract()]

    def _imports(self) -> list[str]:
        protobuf = self._description.draft.protobuf
        groups: dict[int, list[str]] = {0: [], 1: [], 2: []}
        modules = dict(_IMPORTS)
        if protobuf:
            self._used.update(protobuf_source.used_names(protobuf))
        if protobuf and protobuf.module:
            modules[protobuf.module] = (protobuf.name.partition(".")[0],)
        for module, names in sorted(modules.items()):
            if used := [name for name in names if name in self._used]:
                line = f"from {module} import {', '.join(used)}"
                groups[_group_of(module)].append(line)
        lines = [line for group in groups.values() if group for line in ("", *group)]
        return lines[1:]

    def _class(self, struct: Object) -> list[str]:
        names = attributes([field.key for field in struct.fields])
        lines = [line for text in struct.reviews for line in wrapping.comment(text, 0)]
        lines.append(f"class {self._class_of(struct)}(Struct, frozen=True, kw_only=True):")
        if struct == self._message:
            lines += self._message_docs()
        else:
            text = struct.doc or f"A part of {self._class_of(self._message)}"
            lines += [*wrapping.summary(_sentence(text)), ""]
        lines.append("    Attributes:")
        for field in struct.fields:
            lines += wrapping.entry(names[field.key], _sentence(field.doc))
        lines += ['    """', ""]
        for field in struct.fields:
            lines += self._field(struct, field, names[field.key])
        return lines

    def _message_docs(self) -> list[str]:
        """The docstring of the message's class, without its attributes."""
        topic = self._description.topic
        text = self._message.doc or f"One message of topic ``{topic}``"
        lines = [*wrapping.summary(_sentence(text)), ""]
        for heading in SECTIONS:
            if heading != "Attributes":
                lines += [f"    {heading}:", *self._section(heading), ""]
        return lines

    def _section(self, heading: str) -> list[str]:
        draft = self._description.draft
        match heading:
            case "Version history":
                text = f"{self._description.released}. {_sentence(draft.history)}"
                return wrapping.entry(draft.version, text)
            case "Compatibility":
                forward = "a reader ignores fields that its version does not have."
                return [
                    *wrapping.entry("Backward", "there is no older version."),
                    *wrapping.entry("Forward", forward),
                ]
        return wrapping.paragraph(_sentence(draft.sections.get(heading, TO_BE_WRITTEN)), 2)

    def _field(self, struct: Object, field: Field, name: str) -> list[str]:
        lines = [line for text in field.reviews for line in wrapping.comment(text, 1)]
        path = field.key if struct == self._message else f"{self._class_of(struct)}.{field.key}"
        default = self._default(field, name, path)
        assignment = f" = {default}" if default else ""
        return [*lines, f"    {name}: {self._annotation(field)}{assignment}"]

    def _annotation(self, field: Field) -> str:
        """The type of a field, with the name of its column if it has one of its own."""
        if not field.column:
            return self._or_none(field.type, field.nullable)
        name = {"name": repr(field.column)}
        match field.type:
            case Scalar(python=python, bounds=bounds):
                self._used.add(python)
                type_ = self._annotated(python, bounds, self._column(field.type, **name))
            case ListOf(bounds=bounds) | DictOf(bounds=bounds):
                plain = msgspec.structs.replace(field.type, bounds=())
                type_ = self._annotated(self._type(plain), bounds, [self._call("column", **name)])
            case _:
                column = [self._call("column", **name)]
                type_ = self._annotated(self._type(field.type), (), column)
        return f"{type_} | None" if field.nullable else type_

    def _default(self, field: Field, name: str, path: str) -> str:
        """The right side of a field's declaration; empty when it has none."""
        rename = {"name": repr(field.key)} if name != field.key else {}
        if field.default is UNSET:
            return self._call("field", **rename) if rename else ""
        value = value_of(field.type, field.nullable, field.default, path, self._class_of)
        shared = isinstance(field.type, ListOf | DictOf) and field.default is not None
        if shared and field.default:
            # Each message needs its own list or dict.
            return self._call("field", **rename, default_factory=f"lambda: {value}")
        if not rename:
            return value
        if shared:
            kind = "list" if isinstance(field.type, ListOf) else "dict"
            return self._call("field", **rename, default_factory=kind)
        return self._call("field", **rename, default=value)

    def _call(self, function: str, *positional: str, **keywords: str) -> str:
        self._used.add(function)
        arguments = [*positional, *(f"{word}={value}" for word, value in keywords.items())]
        return f"{function}({', '.join(arguments)})"

    def _or_none(self, type_: Type, nullable: bool) -> str:
        return f"{self._type(type_)} | None" if nullable else self._type(type_)

    def _type(self, type_: Type) -> str:
        match type_:
            case Scalar(python=python, bounds=bounds):
                self._used.add(python)
                return self._annotated(python, bounds, self._column(type_))
            case Choice(values=values):
                self._used.add("Literal")
                return f"Literal[{', '.join(map(repr, values))}]"
            case ListOf(item=item, item_nullable=nullable, bounds=bounds):
                return self._annotated(f"list[{self._or_none(item, nullable)}]", bounds)
            case DictOf(value=value, value_nullable=nullable, bounds=bounds):
                return self._annotated(f"dict[str, {self._or_none(value, nullable)}]", bounds)
            case Object():
                return self._class_of(type_)

    def _column(self, scalar: Scalar, **options: str) -> list[str]:
        """The call of ``column`` for what differs from the usual column."""
        type_ = [repr(scalar.column)] if scalar.column else []
        if scalar.low_cardinality:
            options["low_cardinality"] = "True"
        return [self._call("column", *type_, **options)] if type_ or options else []

    def _annotated(self, type_: str, bounds: Bounds, more: Sequence[str] = ()) -> str:
        if bounds:
            more = [self._call("Meta", **{word: repr(value) for word, value in bounds}), *more]
        if not more:
            return type_
        self._used.add("Annotated")
        return f"Annotated[{', '.join([type_, *more])}]"

    def _contract(self) -> list[str]:
        description, draft = self._description, self._description.draft
        names = attributes([field.key for field in self._message.fields])
        day, table = description.released, description.table
        version = f"name={draft.version!r}, released=date({day.year}, {day.month}, {day.day})"
        arguments: dict[str, str] = {
            "topic": repr(description.topic),
            "subject": repr(f"{description.topic}-value"),
            "message": self._class_of(self._message),
            "versions": f"(Version({version}),)",
            "key": repr(names[description.key]),
            "table": f"Table(name={table!r}, order_by={description.order_by!r})",
            "owner": repr(description.owner),
        }
        if draft.protobuf:
            arguments["protobuf"] = protobuf_source.expression(draft.protobuf)
        lines = ["contract = Contract("]
        for word, value in arguments.items():
            if text := description.reviews.get(word):
                lines += wrapping.comment(text, 1)
            lines.append(f"    {word}={value},")
        return [*lines, ")"]


def _group_of(module: str) -> int:
    """The group of a module's import: the standard library, libraries, the project."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names:
        return 0
    return 2 if root in ("sluice", contracts_package().partition(".")[0]) else 1


def _sentence(text: str) -> str:
    stripped = text.strip()
    return stripped if stripped.endswith((".", "!", "?")) else f"{stripped}."
