"""`python -m bench.plots`: pictures of whole runs, as SVG and PNG, for light and for dark pages.

Needs matplotlib, which `make bench` installs. A picture whose run has not been kept is left as it is.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl

from bench.results import FOLDER, read

if TYPE_CHECKING:
    from collections.abc import Callable

mpl.use("Agg")
from matplotlib import pyplot

PLOTS = Path(__file__).parents[1] / "docs" / "plots"


class Theme(NamedTuple):
    """Colors of GitHub's pages, and lines that can be told apart on them."""

    suffix: str
    page: str
    ink: str
    faint: str
    lines: tuple[str, ...]


THEMES = (
    Theme("", "#ffffff", "#1f2328", "#d0d7de", ("#0969da", "#57606a", "#1a7f37", "#bc4c00")),
    Theme("-dark", "#0d1117", "#e6edf3", "#30363d", ("#58a6ff", "#8b949e", "#3fb950", "#f0883e")),
)
MARKERS = "osD^"


def fanout(result: dict[str, Any], axes: Any, theme: Theme) -> None:
    """Deliveries a second against connections."""
    lines = zip(result["series"], theme.lines, MARKERS, strict=False)
    for (name, points), color, marker in lines:
        clients, rates = zip(*points, strict=True)
        axes.plot(clients, [rate / 1000 for rate in rates], label=name, color=color, marker=marker)
    axes.set(
        xscale="log",
        xlabel="connected WebSockets",
        ylabel="deliveries a second, thousands",
        title="Broadcast, one message at a time; server on one core",
    )
    axes.set_ylim(bottom=0)
    _plain_ticks(axes, [points[0] for points in result["series"][0][1]])
    axes.legend(frameon=False, labelcolor=theme.ink)


def latency(result: dict[str, Any], axes: Any, theme: Theme) -> None:
    """Percentiles against connections; a line style for each percentile, a color for each transport."""
    for (name, points), color in zip(result["series"], theme.lines[::2], strict=False):
        for column, (percent, style) in enumerate(zip((50, 95, 99), (":", "--", "-"), strict=True), start=1):
            x, y = [each[0] for each in points], [each[column] for each in points]
            axes.plot(x, y, style, label=f"{name}, p{percent}", color=color, marker="o", markersize=4)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="connected clients",
        ylabel="milliseconds until the last client has it",
        title="Publish over HTTP to last client, at a steady pace",
    )
    _plain_ticks(axes, [each[0] for each in result["series"][0][1]])
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.legend(frameon=False, labelcolor=theme.ink, ncols=2)


def memory(result: dict[str, Any], axes: Any, theme: Theme) -> None:
    """Kilobytes of each idle connection against connections."""
    columns = ("the process's", "the kernel's, both ends")
    for column, (name, color, marker) in enumerate(zip(columns, theme.lines, MARKERS, strict=False), start=1):
        points = [(each[0], each[column] / 1000) for each in result["series"]]
        axes.plot(*zip(*points, strict=True), label=name, color=color, marker=marker)
    axes.set(
        xlabel="idle authenticated WebSockets",
        ylabel="kilobytes for each",
        title="Memory of an idle connection",
    )
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=theme.ink)


def _plain_ticks(axes: Any, values: list[int]) -> None:
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.minorticks_off()


#: By the name of the file; the run it shows and who draws it.
PICTURES: dict[str, tuple[str, Callable[[dict[str, Any], Any, Theme], None]]] = {
    "fanout": ("fanout", fanout),
    "latency": ("latency", latency),
    "memory": ("connections", memory),
}


def draw(name: str, folder: Path = PLOTS, results: Path = FOLDER) -> list[Path]:
    """Draw one picture in both themes. Returns the files; none where the run or its series is missing."""
    bench, paint = PICTURES[name]
    result = read(bench, results)
    if not result or not result.get("series"):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for theme, kind in itertools.product(THEMES, ("svg", "png")):
        with mpl.rc_context(_style(theme)):
            figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
            paint(result, axes, theme)
            axes.spines[["top", "right"]].set_visible(False)
            path = folder / f"{name}{theme.suffix}.{kind}"
            figure.savefig(path, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
            pyplot.close(figure)
        drawn.append(path)
    return drawn


def _style(theme: Theme) -> dict[str, Any]:
    inked = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, theme.ink),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), theme.faint),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.page),
        "axes.grid": True,
        "font.size": 10,
        "svg.fonttype": "none",
        "svg.hashsalt": "notifyd",  # the same picture, the same bytes
        "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    }


def main() -> int:
    for name in PICTURES:
        drawn = draw(name)
        for path in drawn:
            print(path.relative_to(PLOTS.parents[1]))
        if not drawn:
            print(f"{name}: nothing to draw, run python -m bench {PICTURES[name][0]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
