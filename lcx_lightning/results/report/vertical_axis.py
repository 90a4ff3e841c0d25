"""The vertical axis of a figure: its ends, its ticks, and where a value stands on it."""

import math
from dataclasses import dataclass

TICKS = ([1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8], [1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1])  # in a decade, finest first


@dataclass(frozen=True)
class VerticalAxis:
    """An axis from low to high, upwards."""

    low: float
    high: float
    logarithmic: bool

    def pixel(self, value: float, height: float) -> float:
        """Where a value stands, from the top."""
        if self.logarithmic:
            return height * math.log(self.high / value) / math.log(self.high / self.low)
        return height * (self.high - value) / (self.high - self.low)

    def value(self, pixel: float, height: float) -> float:
        """The value at a place."""
        if self.logarithmic:
            return self.high * (self.low / self.high) ** (pixel / height)
        return self.high - (self.high - self.low) * pixel / height

    def ticks(self) -> list[float]:
        """Round numbers inside, as many as read well: the finest series with at most 9."""
        low, high = self.low, self.high
        if not self.logarithmic or high / low < 3:  # on so short an axis even steps look even
            exponents = range(math.floor(math.log10(high - low)) - 1, math.ceil(math.log10(high - low)) + 2)
            steps = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
            series = [[step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)] for step in steps]
        else:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            series = [[step * 10.0**decade for decade in decades for step in steps] for steps in TICKS]
        inside = [[float(f"{tick:.6g}") for tick in ticks if low <= tick <= high] for ticks in series]
        return next((ticks for ticks in inside if len(ticks) <= 9), inside[-1])


def axis_of(points: list[dict], logarithmic: bool) -> VerticalAxis:
    """The axis that holds the points; wide intervals are cut at 1.3 times the extreme values of a logarithmic one."""
    values = [point["value"] for point in points]
    low, high = min(point["low"] for point in points), max(point["high"] for point in points)
    if not logarithmic:
        margin = 0.04 * (high - low) or 1.0
        return VerticalAxis(low - margin, high + margin, logarithmic=False)
    low, high = max(low, min(values) / 1.3), min(high, max(values) * 1.3)
    margin = max((high / low) ** 0.04, 1.03)
    return VerticalAxis(low / margin, high * margin, logarithmic=True)
