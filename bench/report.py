"""Rows of results, and the table a person reads."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One figure. `goal` is None, and so is `holds`, for what is only told; `most`: the goal is a maximum."""

    name: str
    goal: float | None
    measured: float
    unit: str
    holds: bool | None
    most: bool = False


def figure(name: str, measured: float, unit: str) -> Row:
    """A figure without a goal."""
    return Row(name, None, round(measured, 3), unit, None)


def at_least(name: str, goal: float, measured: float, unit: str = "×") -> Row:
    """A figure that should be no smaller than `goal`."""
    return Row(name, goal, round(measured, 3), unit, measured >= goal)


def at_most(name: str, goal: float, measured: float, unit: str) -> Row:
    """A figure that should be no larger than `goal`."""
    return Row(name, goal, round(measured, 3), unit, measured <= goal, most=True)


def table(rows: list[Row]) -> str:
    """The rows in columns."""
    cells = [("", "goal", "measured", "")]
    for row in rows:
        goal = "" if row.goal is None else f"{'≤' if row.most else '≥'} {row.goal:g}"
        verdict = "" if row.holds is None else ("holds" if row.holds else "MISSED")
        cells.append((row.name, goal, f"{row.measured:,g} {row.unit}", verdict))
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "\n".join(line.rstrip() for line in lines)
