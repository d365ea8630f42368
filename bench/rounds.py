"""A B A B: contenders take turns, so that what disturbs the machine disturbs them alike."""

from collections.abc import Callable, Mapping, Sequence
from math import comb
from statistics import median
from typing import TypeVar

Result = TypeVar("Result")


def alternate(runs: Mapping[str, Callable[[int], Result]], rounds: int) -> dict[str, list[Result]]:
    """Run each in turn, `rounds` times over; each gets the number of the round. Returns the results of each."""
    results: dict[str, list[Result]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            results[name].append(run(number))
    return results


def median_of(results: Sequence[Result], figure: Callable[[Result], float]) -> float:
    return median(figure(result) for result in results)


def ratio(ours: Sequence[Result], theirs: Sequence[Result], figure: Callable[[Result], float]) -> float:
    """How many times theirs ours is: the median of the rounds' quotients. Each compares neighbours in time."""
    return median(figure(a) / max(figure(b), 1e-9) for a, b in zip(ours, theirs, strict=True))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median, from the order of the values alone: the inverted sign test.

    Of fewer than six values it is their whole range, which says less.
    """
    ordered, left_out, tail = sorted(values), 0, 0.5 ** len(values)
    while tail + comb(len(ordered), left_out + 1) * 0.5 ** len(ordered) <= 0.025:
        left_out += 1
        tail += comb(len(ordered), left_out) * 0.5 ** len(ordered)
    return ordered[left_out], ordered[-1 - left_out]


def shown(values: Sequence[float], unit: str) -> str:
    """The median with its interval, as text: how much more or less something is."""
    low, high = interval(values)
    return f"{median(values):+.1f}{unit} [{low:+.1f} to {high:+.1f}]"
