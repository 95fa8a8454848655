"""Names of columns and tuple elements, and which of them ClickHouse takes for something else."""

from collections.abc import Iterable

import msgspec

from sluice.errors import ContractError

LINEAGE_NAMES = frozenset(
    {
        "_topic",
        "_partition",
        "_offset",
        "_timestamp",
        "_schema_version",
        "_correlation_id",
        "_trace_id",
        "_span_id",
        "_load_id",
        "_loaded_at",
    }
)
"""Names of the columns that every target table has in addition to its contract's."""


class NamedField(msgspec.Struct, frozen=True):
    """A field and the name that it has in ClickHouse.

    Attributes:
        name: the name of its column, or of its element in a tuple.
        path: its path in the message.
        is_array: whether it is stored as an array.
    """

    name: str
    path: tuple[str, ...]
    is_array: bool = False


def check_column_names(fields: Iterable[NamedField]) -> None:
    """Refuse columns whose names clash.

    Raises:
        ContractError: two fields have the same column, the name is that of a lineage column, or
            ClickHouse would take a dotted name for a part of another column; ``field`` is the path.
    """
    fields = list(fields)
    _check_duplicates(fields)
    for field in fields:
        if field.name in LINEAGE_NAMES:
            raise _refused(field, f"its column would be the lineage column {field.name}")
    # Array columns a.b and a.c are one Nested column, whose arrays must have the same lengths.
    nested: dict[str, NamedField] = {}
    for field in fields:
        parent, dot, _ = field.name.partition(".")
        if dot and field.is_array and (other := nested.setdefault(parent, field)) is not field:
            raise _refused(
                field,
                f"ClickHouse takes the columns {other.name} and {field.name} for one Nested"
                " column, whose arrays must have the same lengths",
            )


def check_element_names(fields: Iterable[NamedField]) -> None:
    """Refuse names of tuple elements that clash or that ClickHouse reserves.

    Raises:
        ContractError: as for :func:`check_column_names`.
    """
    fields = list(fields)
    _check_duplicates(fields)
    for field in fields:
        if field.name == "null":
            raise _refused(field, "ClickHouse reserves the element name null")


def _check_duplicates(fields: list[NamedField]) -> None:
    by_name: dict[str, NamedField] = {}
    for field in fields:
        if not field.name:
            raise _refused(field, "its column would have an empty name")
        if other := by_name.get(field.name):
            raise _refused(
                field, f"its column {field.name} would also hold field {'.'.join(other.path)!r}"
            )
        by_name[field.name] = field
    for field in fields:
        parts = field.name.split(".")
        for end in range(1, len(parts)):
            if other := by_name.get(".".join(parts[:end])):
                raise _refused(
                    field,
                    f"ClickHouse takes the column {field.name} for a part of the column"
                    f" {other.name}",
                )


def _refused(field: NamedField, reason: str) -> ContractError:
    return ContractError(
        f'{reason}; give it a name of its own: Annotated[…, column(name="…")]',
        field=".".join(field.path),
    )


def staged_names(names: Iterable[str]) -> list[str]:
    """The names of the staged tuple's elements: the fields' own names, if they can be read back.

    ClickHouse reads a name with a dot as the path of a nested element or subcolumn (``a.size0``),
    and reserves ``null``. Such a field is staged under a name made from its position.
    """
    names = list(names)
    staged: list[str] = []
    for position, name in enumerate(names):
        safe = name
        if not name or "." in name or name == "null":
            safe = f"_{position}"
            while safe in names:
                safe = f"_{safe}"
        staged.append(safe)
    return staged
