"""The source of a contract file, from the description of its topic.

The source is valid Python, but only docstrings and comments are laid out: a formatter does the
rest (:mod:`.formatter`).
"""

from collections.abc import Sequence

from msgspec import UNSET

from sluice.authoring.new_topic import wrapping
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
from sluice.authoring.new_topic.naming import attributes, class_name, module_name
from sluice.authoring.new_topic.values import value_of
from sluice.contract.docstrings import SECTIONS

_IMPORTS = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Literal"),
    "uuid": ("UUID",),
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
        return [head, "", *self._imports(), *classes, "", "", *self._contract()]

    def _imports(self) -> list[str]:
        lines: list[str] = []
        for module, names in _IMPORTS.items():
            if used := [name for name in names if name in self._used]:
                if module in ("msgspec", "sluice.contract"):
                    lines.append("")
                lines.append(f"from {module} import {', '.join(used)}")
        return lines

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
        return [*lines, f"    {name}: {self._or_none(field.type, field.nullable)}{assignment}"]

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

    def _column(self, scalar: Scalar) -> list[str]:
        """The call of ``column`` for what differs from the usual column."""
        type_ = [repr(scalar.column)] if scalar.column else []
        options = {"low_cardinality": "True"} if scalar.low_cardinality else {}
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
        day, table = description.released, module_name(description.topic)
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
        lines = ["contract = Contract("]
        for word, value in arguments.items():
            if text := description.reviews.get(word):
                lines += wrapping.comment(text, 1)
            lines.append(f"    {word}={value},")
        return [*lines, ")"]


def _sentence(text: str) -> str:
    stripped = text.strip()
    return stripped if stripped.endswith((".", "!", "?")) else f"{stripped}."
