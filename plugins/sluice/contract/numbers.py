"""JSON numbers with all their digits."""

import math
from decimal import Decimal

import msgspec


def parse_number(number: str) -> Decimal:
    """A JSON number with a fraction, with all its digits.

    Raises:
        msgspec.ValidationError: it is larger than a float can be; msgspec refuses it the same way.
    """
    try:
        value = Decimal(number)
    except ArithmeticError:  # the exponent is too large even for Decimal
        raise msgspec.ValidationError("Number out of range") from None
    if math.isinf(float(value)):
        raise msgspec.ValidationError("Number out of range")
    return value
