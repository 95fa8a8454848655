"""The ranges of numbers that options accept: what Kafka and ClickHouse can hold."""

import math
from typing import Any

import click

from sluice.ranges import EVER


class _NumberRange(click.FloatRange):
    """A range of numbers. Click's own lets ``nan`` pass, which is below and above no number."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


PARTITION = click.IntRange(0, (1 << 31) - 1)
OFFSET = click.IntRange(0, EVER)
COUNT = click.IntRange(0, EVER)
SHARE = _NumberRange(0, 1)
DAYS = _NumberRange(1, 36_500)
