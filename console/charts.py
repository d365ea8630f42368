"""Charts as figures for the templates: the server computes where each bar stands, and the page has no chart library."""

from collections.abc import Sequence
from typing import NamedTuple

from console.activity import Bucket

WIDTH, HEIGHT = 720, 120
GAP = 0.25  # of a bar's width


class Bar(NamedTuple):
    """A bar in the coordinates of the chart, with the step of time that it stands for."""

    x: float
    y: float
    width: float
    height: float
    bucket: Bucket


class Chart(NamedTuple):
    """The bars, and the numbers that describe them in words. `top` is the number at the upper edge."""

    bars: list[Bar]
    top: int
    peak: int
    total: int
    width: int = WIDTH
    height: int = HEIGHT


def chart(buckets: Sequence[Bucket]) -> Chart:
    """A bar for each bucket; the highest fills the height."""
    peak = max((it.events for it in buckets), default=0)
    top = _round_up(peak)
    step = WIDTH / max(1, len(buckets))
    bars = []
    for number, bucket in enumerate(buckets):
        # A bar of few events stays visible.
        height = max(1.5, bucket.events / top * HEIGHT) if bucket.events else 0.0
        x, y = number * step + step * GAP / 2, HEIGHT - height
        bars.append(Bar(round(x, 2), round(y, 2), round(step * (1 - GAP), 2), round(height, 2), bucket))
    return Chart(bars, top, peak, sum(it.events for it in buckets))


def _round_up(peak: int) -> int:
    """The next number of the series 1, 2, 5, 10, 20, 50 ..."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if peak <= factor * size:
                return factor * size
        size *= 10
