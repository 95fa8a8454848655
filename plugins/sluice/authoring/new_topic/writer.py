"""The text of a contract file, from a description of its topic."""

from collections.abc import Sequence

from msgspec import UNSET

from sluice.authoring.new_topic import layout
from sluice.authoring.new_topic.description import (
    SCALARS,
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
from sluice.authoring.new_topic.layout import (
    Expression,
    Group,
    Leaf,
    OrNone,
    call,
    keyword,
    subscript,
)
from sluice.authoring.new_topic.naming import attributes, class_name, module_name
from sluice.authoring.new_topic.values import leaf, value_of
from sluice.contract.docstrings import SECTIONS

_IMPORTS = {
    "datetime": ("date", "datetime", "time", "timedelta"),
    "decimal": ("Decimal",),
    "typing": ("Annotated", "Literal"),
    "uuid": ("UUID",),
    "msgspec": ("Meta", "Struct", "field"),
    "sluice.contract": ("Contract", "Table", "Version", "column"),
}
"""What a file may import, in the order of its imports."""


def source_of(description: Description) -> str:
    """The contract file. Formatted, linted and documented by the project's rules.

    Raises:
        ContractError: a default that its type does not hold; names the field.
    """
    return "\n".join(_Writer(description).lines()) + "\n"


class _Writer:
    """Writes one file; knows the names of its classes, and what they use."""

    def __init__(self, description: Description) -> None:
        self._description = description
        self._message = description.found.message
        self._used = {"date", "Struct", "Contract", "Table", "Version"}
        self._classes: list[tuple[Object, str]] = []
        # The message is named first: its name is the topic's, whatever its parts are called.
        for struct in reversed(list(objects(self._message))):
            self._classes.insert(0, (struct, self._fresh(class_name(struct.name))))

    def _fresh(self, name: str) -> str:
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
        if layout.width(head) > layout.WIDTH:
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
        named = attributes([field.key for field in struct.fields])
        lines = [line for text in struct.reviews for line in layout.comment(text, 0)]
        lines.append(f"class {self._class_of(struct)}(Struct, frozen=True, kw_only=True):")
        if struct == self._message:
            lines += self._message_words()
        else:
            lines += _summary(struct.doc or f"A part of {self._class_of(self._message)}")
        lines.append("    Attributes:")
        for field in struct.fields:
            lines += layout.entry(named[field.key], _sentence(field.doc))
        lines += ['    """', ""]
        for field in struct.fields:
            lines += self._field(struct, field, named[field.key])
        return lines

    def _message_words(self) -> list[str]:
        """The docstring of the message's class but for its attributes."""
        topic, found = self._description.topic, self._description.found
        lines = _summary(self._message.doc or f"One message of topic ``{topic}``")
        for heading in SECTIONS:
            match heading:
                case "Attributes":
                    continue
                case "Version history":
                    text = f"{self._description.released}. {_sentence(found.history)}"
                    lines += [f"    {heading}:", *layout.entry(found.version, text)]
                case "Compatibility":
                    lines.append(f"    {heading}:")
                    lines += layout.entry("Backward", "there is no older version.")
                    text = "a reader ignores the fields that it does not know."
                    lines += layout.entry("Forward", text)
                case _:
                    told = found.sections.get(heading, TO_BE_WRITTEN)
                    lines += [f"    {heading}:", *layout.paragraph(_sentence(told), 2)]
            lines.append("")
        return lines

    def _field(self, struct: Object, field: Field, name: str) -> list[str]:
        type_ = self._type(field.type)
        lines = [line for text in field.reviews for line in layout.comment(text, 1)]
        annotation = OrNone(type_) if field.nullable else type_
        path = field.key if struct == self._message else f"{self._class_of(struct)}.{field.key}"
        return lines + layout.statement(1, name, annotation, self._default(field, name, path))

    def _default(self, field: Field, name: str, path: str) -> Expression | None:
        named = [keyword("name", leaf(field.key))] if name != field.key else []
        if field.default is UNSET:
            return self._call("field", *named) if named else None
        value = value_of(field.type, field.nullable, field.default, path, self._class_of)
        shared = isinstance(field.type, ListOf | DictOf) and field.default is not None
        if not shared or not field.default:
            if not named and not self._is_wide(field, name):
                return value
            kind = "list" if isinstance(field.type, ListOf) else "dict"
            filled = Leaf(f"default_factory={kind}") if shared else keyword("default", value)
            return self._call("field", *named, filled)
        # A list or a dict with something in it must be made anew for each message.
        return self._call("field", *named, keyword("default_factory=lambda", value, ": "))

    def _is_wide(self, field: Field, name: str) -> bool:
        """Whether ``name: Class = Class(`` takes more than a line, which nothing could break."""
        if not isinstance(field.type, Object):
            return False
        return len(name) + 2 * len(self._class_of(field.type)) > layout.WIDTH - 12

    def _call(self, name: str, *items: Expression) -> Group:
        self._used.add(name)
        return call(name, *items)

    def _type(self, type_: Type) -> Expression:
        match type_:
            case Scalar(python=python, bounds=bounds, column=column, low_cardinality=low):
                options: list[Expression] = [leaf(column)] if column else []
                if low:
                    options.append(Leaf("low_cardinality=True"))
                more = [self._call("column", *options)] if options else []
                return self._annotated(Leaf(python), bounds, more)
            case Choice(values=values):
                self._used.add("Literal")
                return subscript("Literal", *map(leaf, values))
            case ListOf(item=item, item_nullable=nullable, bounds=bounds):
                return self._annotated(subscript("list", self._maybe(item, nullable)), bounds)
            case DictOf(value=value, value_nullable=nullable, bounds=bounds):
                inner = self._maybe(value, nullable)
                return self._annotated(subscript("dict", Leaf("str"), inner), bounds)
            case Object():
                return Leaf(self._class_of(type_))

    def _maybe(self, type_: Type, nullable: bool) -> Expression:
        return OrNone(self._type(type_)) if nullable else self._type(type_)

    def _annotated(
        self, plain: Expression, bounds: Bounds, more: Sequence[Group] = ()
    ) -> Expression:
        self._used.update(kind for kind in SCALARS if plain == Leaf(kind))
        if bounds:
            items = [keyword(word, leaf(value)) for word, value in bounds]
            more = [self._call("Meta", *items), *more]
        if not more:
            return plain
        self._used.add("Annotated")
        return subscript("Annotated", plain, *more)

    def _contract(self) -> list[str]:
        description, message = self._description, self._class_of(self._message)
        named = attributes([field.key for field in self._message.fields])
        day = description.released
        version = call(
            "Version",
            keyword("name", leaf(description.found.version)),
            Leaf(f"released=date({day.year}, {day.month}, {day.day})"),
        )
        table = call(
            "Table",
            keyword("name", leaf(module_name(description.topic))),
            keyword("order_by", layout.tuple_of(*map(leaf, description.order_by))),
        )
        arguments: dict[str, Expression] = {
            "topic": leaf(description.topic),
            "subject": leaf(f"{description.topic}-value"),
            "message": Leaf(message),
            "versions": layout.tuple_of(version),
            "key": leaf(named[description.key]),
            "table": table,
            "owner": leaf(description.owner),
        }
        lines = ["contract = Contract("]
        for word, value in arguments.items():
            if text := description.reviews.get(word):
                lines += layout.comment(text, 1)
            lines += layout.argument(1, keyword(word, value))
        return [*lines, ")"]


def _summary(text: str) -> list[str]:
    shown = layout.words(_sentence(text))
    # Four quotes in a row would end the docstring before it began.
    first = '    """ ' if shown.startswith('"') else '    """'
    return [*layout.wrapped(shown, first, "    "), ""]


def _sentence(text: str) -> str:
    shown = text.strip()
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."
