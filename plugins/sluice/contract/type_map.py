"""How the values of each msgspec type are staged, converted, stored and checked.

A message is staged whole, as one ``Tuple`` column that reads the JSON written by msgspec, and is
flattened when it is published. Which pairs of types are possible is decided by the type table
(:mod:`.type_rules`).
"""

import msgspec
from msgspec import inspect as mi

from sluice.contract.checks import each_field
from sluice.contract.column_names import NamedField, check_element_names, staged_names
from sluice.contract.column_type import (
    ColumnType,
    Path,
    array_type,
    fixed_tuple_type,
    map_type,
    nullable_type,
    tuple_type,
    with_stored,
)
from sluice.contract.inspection import unwrap
from sluice.contract.parts import ColumnOptions
from sluice.contract.scalar_types import no_column_type, pair_scalar, smallest_type, unsupported
from sluice.contract.sql_type import SqlType
from sluice.contract.staged_form import json_text_form, struct_form
from sluice.contract.struct_options import check_json_text, check_set_item, check_struct
from sluice.contract.type_lookup import TEXT_KINDS, find_rule, python_kind
from sluice.contract.type_rules import RULES

SETS = (mi.SetType, mi.FrozenSetType)

COLLECTIONS = (
    mi.ListType | mi.SetType | mi.FrozenSetType | mi.VarTupleType | mi.TupleType | mi.DictType
)

Stack = tuple[type, ...]
"""The enclosing Structs, to detect one that contains itself."""


def message_type(struct: type[msgspec.Struct]) -> ColumnType:
    """The named tuple of the staged column that reads a whole message, and its check."""
    info = mi.type_info(struct)
    assert isinstance(info, mi.StructType)
    return _struct(info, (), (), flat=True)


def staged_type(struct: type[msgspec.Struct]) -> SqlType:
    """The type of the staged column that reads a whole message."""
    return message_type(struct).staged


def column_type_of(
    type_: mi.Type, path: Path, stack: Stack = (), chosen: SqlType | None = None
) -> ColumnType:
    """How values of a type are staged, stored and checked.

    Args:
        path: path of the field, for errors.
        stack: the enclosing Structs, to detect one that contains itself.
        chosen: the column type, if that of an enclosing field contains it; otherwise it comes from
            the field's own ``column(type)``, or is the default.

    Raises:
        ContractError: the type table refuses the pair; ``field`` is the path.
    """
    inner, options, nullable = unwrap(type_)
    if options.truncate and isinstance(inner, mi.StructType | mi.UnionType | COLLECTIONS):
        raise unsupported(path, "column(truncate=True) belongs to the time within it")
    if isinstance(inner, SETS):
        check_set_item(inner.item_type, path)
    if chosen is None and options.type:
        chosen = SqlType.parse(options.type)
        if nullable and chosen.dense.name != "Nullable":
            chosen = chosen.nullable
    if chosen is None and options.smallest:
        chosen = smallest_type(inner, path)
        chosen = chosen.nullable if nullable else chosen
    if chosen is None:
        column = _default_type(inner, options, path, stack)
        column = nullable_type(column, path) if nullable else column
    else:
        column = _chosen_type(inner, options, nullable, chosen, path, stack)
    if options.low_cardinality and column.stored.name != "LowCardinality":
        column = with_stored(column, stored=SqlType("LowCardinality", (column.stored,)))
    if column.stored.name == "LowCardinality" and column.stored.plain.name not in _FEW_VALUES:
        raise unsupported(path, f"{column.stored} is slow; only strings may be LowCardinality")
    return column


_FEW_VALUES = ("String", "FixedString")


def _default_type(info: mi.Type, options: ColumnOptions, path: Path, stack: Stack) -> ColumnType:
    """The type of a field that chooses none."""
    match info:
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            element = column_type_of(item, (*path, "[]"), stack)
            return array_type(element, isinstance(info, SETS))
        case mi.TupleType(item_types=items):
            parts = [column_type_of(t, (*path, str(i)), stack) for i, t in enumerate(items)]
            return fixed_tuple_type((), parts)
        case mi.DictType(key_type=key, value_type=value):
            keys = _key_type(key, path, stack)
            return map_type(keys, column_type_of(value, (*path, "{}"), stack), path)
        case mi.StructType():
            return _struct(info, path, stack)
    kind = python_kind(info)
    if kind is None:
        raise no_column_type(info, path)
    default = SqlType.parse(next(rule.default for rule in RULES[kind].values() if rule.default))
    column = _pair(info, options, default.plain, path, stack)
    return with_stored(column, stored=default) if default.name == "LowCardinality" else column


def _chosen_type(
    info: mi.Type,
    options: ColumnOptions,
    nullable: bool,
    chosen: SqlType,
    path: Path,
    stack: Stack,
) -> ColumnType:
    """The type of a field in a column type that the contract chooses."""
    inner = chosen.dense
    if inner.name == "Nullable":
        inner = inner.types[0] if inner.types else inner
    elif nullable:
        raise unsupported(path, f"it may be null, and {chosen} holds no null; use Nullable")
    if inner.name in ("Nullable", "LowCardinality"):
        raise unsupported(path, f"{chosen} is not a column type")
    column = _pair(info, options, inner, path, stack)
    if nullable:
        column = nullable_type(column, path)
    elif chosen.dense.name == "Nullable":
        select = column.select
        column = msgspec.structs.replace(column, convert=lambda x: f"toNullable({select(x)})")
    return with_stored(column, stored=chosen)


def _pair(
    info: mi.Type, options: ColumnOptions, column: SqlType, path: Path, stack: Stack
) -> ColumnType:
    """The type of a field in a given column type, without LowCardinality and Nullable."""
    kind = python_kind(info)
    if kind is None:
        raise no_column_type(info, path)
    try:
        rule = find_rule(kind, column)
    except ValueError as error:
        raise unsupported(path, str(error)) from None
    if kind in TEXT_KINDS and column.name == "String":
        # ClickHouse keeps the value as its JSON text; the tag of a union identifies the Struct.
        check_json_text(info, path)
        return ColumnType(column, column, form=json_text_form(info))
    match info:
        case (
            mi.ListType(item_type=item)
            | mi.SetType(item_type=item)
            | mi.FrozenSetType(item_type=item)
            | mi.VarTupleType(item_type=item)
        ):
            (chosen,) = _arguments(column, 1, path)
            element = column_type_of(item, (*path, "[]"), stack, chosen)
            return array_type(element, isinstance(info, SETS))
        case mi.TupleType(item_types=items):
            types = _arguments(column, len(items), path)
            parts = [
                column_type_of(t, (*path, str(i)), stack, c)
                for i, (t, c) in enumerate(zip(items, types, strict=True))
            ]
            return fixed_tuple_type(column.names, parts)
        case mi.DictType(key_type=key, value_type=value):
            key_type, value_type = _arguments(column, 2, path)
            keys = _key_type(key, path, stack, key_type)
            return map_type(keys, column_type_of(value, (*path, "{}"), stack, value_type), path)
        case mi.StructType():
            return _struct(info, path, stack, chosen=column)
    return ColumnType(*pair_scalar(info, kind, rule, column, options, path))


def _key_type(key: mi.Type, path: Path, stack: Stack, chosen: SqlType | None = None) -> ColumnType:
    """The type of a map's keys."""
    if unwrap(key)[1].truncate:
        raise unsupported((*path, "key"), "truncating the keys of a map could make two of them one")
    return column_type_of(key, (*path, "key"), stack, chosen)


def _arguments(column: SqlType, count: int, path: Path) -> tuple[SqlType, ...]:
    if len(column.types) != count:
        raise unsupported(path, f"{column} has {len(column.types)} types, and the field {count}")
    return column.types


def _struct(
    info: mi.StructType,
    path: Path,
    stack: Stack,
    chosen: SqlType | None = None,
    flat: bool = False,
) -> ColumnType:
    """The tuple of a Struct.

    Args:
        chosen: a tuple type that the contract chooses.
        flat: whether the fields get columns of their own, so that the tuple is only staged.
    """
    if info.cls in stack:
        raise unsupported(path, f"{info.cls.__name__} contains itself")
    check_struct(info, path)
    inner, fields = (*stack, info.cls), info.fields
    paths = [(*path, f.encode_name) for f in fields]
    names = [f.encode_name for f in fields]
    if not flat:
        names = [unwrap(f.type)[1].name or f.encode_name for f in fields]
        check_element_names(NamedField(n, p) for n, p in zip(names, paths, strict=True))
    if chosen and chosen.names != tuple(names):
        raise unsupported(path, f"the elements of {chosen} must be named {', '.join(names)}")
    types = chosen.types if chosen else (None,) * len(fields)
    parts = [
        _flat_field(f.type, p, inner) if flat else column_type_of(f.type, p, inner, type_)
        for f, p, type_ in zip(fields, paths, types, strict=True)
    ]
    staged = staged_names(f.encode_name for f in fields)
    check = each_field(
        [(f.name, f.encode_name, part.check) for f, part in zip(fields, parts, strict=True)]
    )
    form = struct_form(info, staged, [part.form for part in parts])
    return tuple_type(tuple(staged), tuple(names), parts, check, form)


def _flat_field(type_: mi.Type, path: Path, stack: Stack) -> ColumnType:
    inner, options, nullable = unwrap(type_)
    if not isinstance(inner, mi.StructType) or options.type:
        return column_type_of(type_, path, stack)
    column = _struct(inner, path, stack, flat=True)
    return nullable_type(column, path) if nullable else column
