"""Numbers within the bounds of a JSON Schema."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from streamsvc.providers.fake.schemas import NoValue


def number_for(schema: Mapping[str, Any], variant: int, *, is_whole: bool) -> int | float:
    """Return the number nearest to 1 within the bounds; a whole one if there is one."""
    unit = _exact(schema.get("multipleOf", 1))
    if is_whole:
        unit = Fraction(unit.numerator)
    low, high = _lowest(schema, unit), _highest(schema, unit)
    if low is not None and high is not None and low > high:
        if is_whole or "multipleOf" in schema:
            raise NoValue
        return _between(schema, variant)
    first = 1 if high is None else min(1, high)
    first = first if low is None else max(first, low)
    times = first + variant if high is None or first + variant <= high else first - variant
    value = unit * (times if low is None else max(low, times))
    return int(value) if value.denominator == 1 else float(value)


def _lowest(schema: Mapping[str, Any], unit: Fraction) -> int | None:
    """Return how many units the least number has, if there is one."""
    bounds = []
    if "minimum" in schema:
        bounds.append(math.ceil(_exact(schema["minimum"]) / unit))
    if "exclusiveMinimum" in schema:
        bounds.append(math.floor(_exact(schema["exclusiveMinimum"]) / unit) + 1)
    return max(bounds, default=None)


def _highest(schema: Mapping[str, Any], unit: Fraction) -> int | None:
    """Return how many units the greatest number has, if there is one."""
    bounds = []
    if "maximum" in schema:
        bounds.append(math.floor(_exact(schema["maximum"]) / unit))
    if "exclusiveMaximum" in schema:
        bounds.append(math.ceil(_exact(schema["exclusiveMaximum"]) / unit) - 1)
    return min(bounds, default=None)


def _between(schema: Mapping[str, Any], variant: int) -> float:
    """Return a number between two bounds that have no whole one between them."""
    least, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    most, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    low = max(bound for bound in (least, above) if bound is not None)
    high = min(bound for bound in (most, below) if bound is not None)
    value = float(low + (high - low) / (variant + 2))
    if not low <= value <= high or value in (above, below):
        raise NoValue
    return value


def _exact(number: float) -> Fraction:
    """Return a number of a JSON text exactly: 0.1 is a tenth."""
    return Fraction(str(number))
