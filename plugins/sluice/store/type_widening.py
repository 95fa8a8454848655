"""Which ClickHouse types a column can be changed to without changing a stored value."""

from sluice.contract.sql_type import SqlType

_EXACT_IN_FLOAT64 = ("Int8", "Int16", "Int32", "UInt8", "UInt16", "UInt32", "Float32")


def widens(old: SqlType, new: SqlType) -> bool:
    """Whether every value of type ``old`` converts to type ``new`` unchanged."""
    if old == new:
        return True
    if old.name == "LowCardinality" or new.name == "LowCardinality":
        return widens(old.dense, new.dense)
    if new.name == "Nullable":
        return widens(old.types[0] if old.name == "Nullable" else old, new.types[0])
    if old.name == new.name:
        return _widens_within(old, new)
    if (narrow := old.integer_range) and (wide := new.integer_range):
        return wide[0] <= narrow[0] and narrow[1] <= wide[1]
    if new.name == "Float64":
        return old.name in _EXACT_IN_FLOAT64
    return (old.name, new.name) in (("Date", "Date32"), ("DateTime", "DateTime64"))


def _widens_within(old: SqlType, new: SqlType) -> bool:
    """Whether the same holds for two types with the same name."""
    if old.name in ("Array", "Map"):
        return all(map(widens, old.types, new.types))
    if old.name == "Decimal":
        old_digits, old_places = old.decimal_digits or (0, 0)
        new_digits, new_places = new.decimal_digits or (0, 0)
        return new_places >= old_places and new_digits - new_places >= old_digits - old_places
    if old.name == "DateTime64":
        same_zone = old.parameters[1:] == new.parameters[1:]
        # A DateTime64 with nanoseconds holds only the years 1900 to 2262.
        return same_zone and int(old.parameters[0]) <= int(new.parameters[0]) < 9
    if old.name == "Tuple" and old.names and new.names:  # ClickHouse matches elements by name
        elements = dict(zip(new.names, new.types, strict=True))
        return all(
            name in elements and widens(type_, elements[name])
            for name, type_ in zip(old.names, old.types, strict=True)
        )
    return False
