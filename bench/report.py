"""Rows of results, and the table a person reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The unit of a ratio of two things measured in the same run.
RATIO = "×"


class Row(NamedTuple):
    """One figure. `goal` is None, and so is `holds`, for what is only told; `most`: the goal is a maximum.
    `measured` is None, and so is `holds`, where it could not be measured; `told` says why.

    `rounds`: what each round measured, of which `measured` is the median, where there were several.
    `told`: what a ratio is of, in words.
    """

    name: str
    goal: float | None
    measured: float | None
    unit: str
    holds: bool | None
    most: bool = False
    rounds: tuple[float, ...] = ()
    told: str = ""

    @property
    def value(self) -> float:
        """What was measured. Raises ValueError where nothing was."""
        if self.measured is None:
            raise ValueError(f"{self.name} was not measured: {self.told}")
        return self.measured


class Rows(list[Row]):
    """Rows, and what a plot needs besides: series by name, each a list of lines of figures."""

    def __init__(self, rows: Sequence[Row] = (), **series: object) -> None:
        super().__init__(rows)
        self.series = series


def figure(name: str, measured: float, unit: str, rounds: Sequence[float] = ()) -> Row:
    """A figure without a goal."""
    return Row(name, None, _short(measured), unit, None, rounds=_all_short(rounds))


def at_least(
    name: str,
    goal: float,
    measured: float,
    unit: str = RATIO,
    rounds: Sequence[float] = (),
    *,
    told: str = "",
) -> Row:
    """A figure that should be no smaller than `goal`."""
    holds = measured >= goal
    return Row(name, goal, _short(measured), unit, holds, rounds=_all_short(rounds), told=told)


def at_most(
    name: str, goal: float, measured: float, unit: str, rounds: Sequence[float] = (), *, told: str = ""
) -> Row:
    """A figure that should be no larger than `goal`."""
    holds = measured <= goal
    return Row(name, goal, _short(measured), unit, holds, most=True, rounds=_all_short(rounds), told=told)


def not_measured(name: str, goal: float, why: str) -> Row:
    """A goal of which nothing is known, such as one against a server that is not installed."""
    return Row(name, goal, None, RATIO, None, told=why)


def against(ours: float, theirs: float, unit: str) -> str:
    """What a ratio is of: `107,210 against 115,000 /s`."""
    return f"{number(ours)} against {number(theirs)} {unit}"


def goal_text(row: Row) -> str:
    """`≥ 0.9`, or nothing."""
    return "" if row.goal is None else f"{'≤' if row.most else '≥'} {number(row.goal)}"


def spread_text(row: Row) -> str:
    """`0.91 – 0.97`: the least and the most of the rounds, or nothing."""
    return f"{number(min(row.rounds))} – {number(max(row.rounds))}" if row.rounds else ""


def verdict(row: Row) -> str:
    if row.measured is None:
        return f"not measured: {row.told}"
    return "" if row.holds is None else ("holds" if row.holds else "MISSED")


def number(value: float | None) -> str:
    """Three digits that say something, more only before the point: 107,210 or 0.931. Nothing for None."""
    if value is None:
        return ""
    digits = 0 if not value or abs(value) >= 100 else 2 - math.floor(math.log10(abs(value)))
    text = f"{value:,.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(rows: Sequence[Row], command: str = "") -> str:
    """The rows in columns, under the command that repeats them."""
    cells = [("", "goal", "measured", "", "rounds", "")]
    for row in rows:
        cells.append(
            (row.name, goal_text(row), number(row.measured), row.unit, spread_text(row), verdict(row))
        )
    widths = [max(len(line[column]) for line in cells) for column in range(6)]
    lines = ["  ".join(map(_aligned, range(6), line, widths)).rstrip() for line in cells]
    return "\n".join([f"$ {command}", *lines] if command else lines)


def _aligned(column: int, cell: str, width: int) -> str:
    return cell.rjust(width) if column in (1, 2) else cell.ljust(width)


def _short(value: float) -> float:
    return round(value, 3)


def _all_short(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(map(_short, values))
