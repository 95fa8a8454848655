"""Parsing of Avro and Protobuf payloads, without their registry header.

A Protobuf message becomes an object whose values have Protobuf's own types. Its JSON form is not
used, because it changes values: 64-bit integers and bytes become text, and a short decimal number
takes the place of a 32-bit float.
"""

import io
from collections.abc import Callable, Sequence
from decimal import MAX_PREC, Context, Decimal
from typing import Any

import fastavro
import fastavro._read_py
import fastavro.read
import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

ReadPayload = Callable[[bytes], Any]
"""Parses a message, without its registry header, to an object; passes on the exceptions of the
format's library."""


class PayloadError(ValueError):
    """A payload that its format's library reads, but not to what was written."""


ResolveBranches = Callable[[Any, frozenset[str]], Any]
"""Replaces the pairs of name and record, for which it also gets the names of all records."""


def avro_reader(
    text: str, references: Sequence[str] = (), resolve: ResolveBranches | None = None
) -> ReadPayload:
    """A parser of Avro payloads of one schema.

    Args:
        text: the writer's schema.
        references: the schemas that it refers to; see :class:`~.schema_registry.Registered`.
        resolve: gets the parsed payload where the schema has unions of several records: their
            values are the record's full name and the record. Without it they are the record.
    """
    named: dict[str, Any] = {}
    for referenced in references:
        fastavro.parse_schema(msgspec.json.decode(referenced), named_schemas=named)
    schema = fastavro.parse_schema(msgspec.json.decode(text), named_schemas=named)
    # fastavro parses a name or a union again, without the references.
    if isinstance(schema, list):
        schema = [named.get(b, b) if isinstance(b, str) else b for b in schema]
    elif isinstance(schema, str):
        schema = named.get(schema, schema)
    # fastavro's compiled reader ends the process when a record contains itself too deeply.
    library = fastavro._read_py if _contains_itself(schema, named, (), set()) else fastavro
    read = library.schemaless_reader
    records = frozenset(name for name, found in named.items() if found.get("type") == "record")
    named_branches = resolve is not None and _has_record_union(schema, named, set())

    def read_all(payload: bytes) -> Any:
        data = io.BytesIO(payload)
        value = read(
            data,
            schema,
            None,
            return_record_name=named_branches,
            return_record_name_override=named_branches,
        )
        if resolve and named_branches:
            value = resolve(value, records)
        if rest := len(payload) - data.tell():
            raise PayloadError(f"{rest} bytes follow the end of the record")
        return value

    return read_all


def _contains_itself(
    schema: Any, named: dict[str, Any], within: tuple[str, ...], clear: set[str]
) -> bool:
    """Whether a parsed Avro schema has a record that contains itself.

    Args:
        within: the records that contain it.
        clear: the names of records that were found not to.
    """
    match schema:
        case str() if schema in within:
            return True
        case str() if schema in named and schema not in clear:
            return _contains_itself(named[schema], named, within, clear)
        case list():
            return any(_contains_itself(branch, named, within, clear) for branch in schema)
        case {"type": "record" | "error", "name": str(name), "fields": fields}:
            inner = (*within, name)
            if any(_contains_itself(field["type"], named, inner, clear) for field in fields):
                return True
            clear.add(name)
        case {"type": "array", "items": item} | {"type": "map", "values": item}:
            return _contains_itself(item, named, within, clear)
        case {"type": list() | dict() as inner_type}:
            return _contains_itself(inner_type, named, within, clear)
    return False


def _has_record_union(schema: Any, named: dict[str, Any], seen: set[str]) -> bool:
    """Whether a parsed Avro schema has a union of several records."""
    match schema:
        case str():
            found = named.get(schema)
            return found is not None and _has_record_union(found, named, seen)
        case list():
            full = [named.get(b, b) if isinstance(b, str) else b for b in schema]
            records = [b for b in full if isinstance(b, dict) and b.get("type") == "record"]
            return len(records) > 1 or any(_has_record_union(b, named, seen) for b in schema)
        case {"type": "record" | "error", "name": str(name), "fields": fields}:
            if name in seen:
                return False
            seen.add(name)
            return any(_has_record_union(field["type"], named, seen) for field in fields)
        case {"type": "array", "items": item} | {"type": "map", "values": item}:
            return _has_record_union(item, named, seen)
        case {"type": list() | dict() as inner_type}:
            return _has_record_union(inner_type, named, seen)
    return False


def _exact_decimal(data: Any, schema: Any = None, reader: Any = None) -> Decimal:
    """A decimal number with all its digits; fastavro rounds it to the precision of the schema."""
    number = int.from_bytes(data, "big", signed=True)
    value = Decimal(number).scaleb(-schema.get("scale", 0), _ALL_DIGITS)
    if len(value.as_tuple().digits) > schema["precision"]:
        raise PayloadError(f"{value:f} has more digits than the schema's {schema['precision']}")
    return value


_ALL_DIGITS = Context(prec=MAX_PREC)
for kind in ("bytes-decimal", "fixed-decimal"):
    fastavro.read.LOGICAL_READERS[kind] = _exact_decimal


def protobuf_reader(message_class: type) -> ReadPayload:
    """A parser of Protobuf payloads, without Confluent's message indexes, to objects by field name;
    see :func:`protobuf_object`.
    """
    parse = message_class.FromString  # type: ignore[attr-defined]
    return lambda payload: protobuf_object(parse(payload))


def protobuf_object(message: Message) -> Any:
    """A Protobuf message as an object by field name.

    Members of an enum have their names, or their number if the class does not know it. Fields that
    are absent are left out; those whose presence Protobuf does not record have their default value.
    The types of ``google.protobuf``, such as ``Timestamp``, have their JSON form, and its wrapper
    types are the values that they wrap. The keys of maps are texts.
    """
    type_: Any = message.DESCRIPTOR
    _refuse_unread(message, type_)
    if type_.full_name in _WRAPPERS:
        return message.value
    if type_.full_name.startswith("google.protobuf."):
        return MessageToDict(message)
    fields: dict[str, Any] = {}
    for field in type_.fields:
        if field.has_presence and not message.HasField(field.name):
            continue
        value = getattr(message, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            # The order of a map differs from process to process.
            fields[field.name] = {
                _key_text(key): _protobuf_value(inner, value[key]) for key in sorted(value)
            }
        elif is_repeated(field):
            fields[field.name] = [_protobuf_value(field, item) for item in value]
        else:
            fields[field.name] = _protobuf_value(field, value)
    return fields


def _refuse_unread(message: Message, type_: Any) -> None:
    """Refuse what is there under the number of a field, and is not a value of that field.

    Protobuf puts it aside: a value of another wire type, or an unknown member of a closed enum.
    """
    for unknown in UnknownFieldSet(message):
        if field := type_.fields_by_number.get(unknown.field_number):
            raise PayloadError(
                f"field {field.name!r} of {type_.full_name} has a value that is not of its type:"
                f" {str(unknown.data)[:40]}"
            )


_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in (
        "Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes",
    )
)  # fmt: skip


def _key_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def is_repeated(field: Any) -> bool:
    """Whether a Protobuf field is a list or a map."""
    repeated = getattr(field, "is_repeated", None)
    return field.label == FieldDescriptor.LABEL_REPEATED if repeated is None else bool(repeated)


def _protobuf_value(field: Any, value: Any) -> Any:
    if field.message_type:
        return protobuf_object(value)
    if field.enum_type:
        if field.enum_type.full_name == "google.protobuf.NullValue":
            return None
        member = field.enum_type.values_by_number.get(value)
        return member.name if member else value
    return value
