"""``docs/types.md``: the type table as a page, for people who write contracts."""

from sluice.contract.type_lookup import refusal_reason
from sluice.contract.type_rules import FAMILIES, KIND_NAMES, REASONS, RULES

_HEAD = """\
<!-- Generated from the type table by 'sluice schema docs --write'. Do not edit. -->

# Types

Use this page to choose the column type of a field. It lists what becomes of the values of each
Python type in each ClickHouse type:

- **exact**: the column holds every value.
- **limited**: the column holds the values that the table describes. A message with another value is
  quarantined as `out_of_range`, with the field and the value. Nothing is rounded, cut or padded.
- **refused**: the contract is refused when it is built, with a sentence that says why.

The same holds inside `Nullable`, `LowCardinality`, `Array`, `Map`, `Tuple` and nested Structs: the
item types of the column are paired with those of the field. `Int` stands for every integer column
from `Int8` to `UInt256`, `Decimal` and `Enum` for their variants. Column types that this page does
not name are refused.

"""

_TAIL = """
## Notes

- A number in a `float` field is stored as the nearest Float64: JSON's 9007199254740993 becomes
  9007199254740992, and so do integers and decimals of Avro and Protobuf. Use `int` or `Decimal`
  where every digit counts.
- Of several entries of a JSON object with the same key the last one counts, as in every JSON
  parser. A map in which different texts are one key, such as `1` and `1.0` in `dict[float, int]`,
  is refused.
- The items of a `set` are stored in the order of their JSON, each once. Use `list` to keep the
  order and repeated items.
- A float that is not finite (from Avro, Protobuf or a lift function) is refused in every column.
- A `datetime` holds microseconds. A text with more digits, such as `12:00:00.123456789Z`, is
  refused unless the field has `column(truncate=True)`. The same option stores times that are finer
  than their column without their surplus digits.
- A time without a zone is UTC, whatever zone the column displays.
- `null` needs `Nullable`, which `X | None` adds by itself. Arrays and maps cannot be null.
- `list`, `tuple`, `dict`, a Struct and a union in a `String` column are stored as their JSON text.
- Only `String` and `FixedString` may be `LowCardinality`.
"""


def type_page() -> str:
    """The text of the page."""
    text = _HEAD
    for kind, rules in RULES.items():
        text += f"## {KIND_NAMES[kind]}\n\n| column type | | values that fit |\n|---|---|---|\n"
        for family, rule in rules.items():
            default = f" (default: `{rule.default}`)" if rule.default else ""
            outcome = "limited" if rule.limit else "exact"
            text += f"| {family}{default} | {outcome} | {rule.limit or 'all'} |\n"
        refused = [f for f in FAMILIES if f not in rules and not (f == "Int" and "Int64" in rules)]
        text += f"\nRefused: {', '.join(refused)}.\n"
        reasons = [refusal_reason(kind, family, family) for k, family in REASONS if k == kind]
        text += "".join(f"- {reason}.\n" for reason in reasons) + "\n"
    return text.rstrip() + "\n" + _TAIL
