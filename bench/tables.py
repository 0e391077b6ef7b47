"""`python -m bench.tables`: writes the tables of docs/performance.md from the runs in bench/results/.

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->`. `--check` changes nothing; its exit status is
1 when the document does not show what was measured.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.capacity import BROADCASTS_A_MINUTE, CONNECTIONS_OF_PROCESS, OWN_A_MINUTE, Costs, Needs, needs
from bench.connections import DELIVERY, HEARTBEAT
from bench.registry import BENCHES
from bench.report import RATIO, Row, goal_text, number, spread_text, verdict
from bench.results import FOLDER, command, read, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
SIZES = (100_000, 1_000_000)
#: What was kept, by the bench's name.
Results = dict[str, dict[str, Any]]


def read_all(folder: Path = FOLDER) -> Results:
    found = {name: read(name, folder) for name in BENCHES}
    return {name: result for name, result in found.items() if result}


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table; the columns `right` hold figures."""
    rules = ["---:" if column in right else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rules, *lines])


# --- goals ---------------------------------------------------------------------------------------------


def goals(results: Results) -> str:
    """Every row with a goal, and each bench that has not been run."""
    lines = []
    for name in BENCHES:
        run = f"`{command(name)}`"
        rows = [row for row in rows_of(results.get(name)) if row.goal is not None]
        lines += [
            [row.name, goal_text(row), *_values(row), spread_text(row), verdict(row), run] for row in rows
        ]
        if name not in results:
            lines.append([f"not measured yet: {BENCHES[name].about}", "", "", "", "", "", run])
    return markdown(("what", "goal", "measured", "ratio", "rounds", "", "command"), lines, right=(1, 2, 3))


def _values(row: Row) -> tuple[str, str]:
    """Measured and ratio: the one that the row is."""
    value = number(row.measured)
    return (row.told, value) if row.unit == RATIO else (f"{value} {row.unit}".strip(), "")


# --- servers -------------------------------------------------------------------------------------------


def servers(result: dict[str, Any] | None, ours: str) -> str:
    """Deliveries a second of each server, the fastest first, and what one costs."""
    rows = {row.name: row for row in rows_of(result)}
    names = [name for row in rows if (name := _after(row, "deliveries a second, ")) and _cost(rows, name)]
    names.sort(key=lambda name: -rows[f"deliveries a second, {name}"].value)
    versions = result["versions"] if result else {}
    lines = []
    for name in names:
        rate = rows[f"deliveries a second, {name}"]
        own, kernel = _cost(rows, name)
        multiple = _multiple(rows[f"deliveries a second, {ours}"], rate)
        lines.append(
            [
                f"**{name}**" if name == ours else name,
                versions.get(name, ""),
                number(rate.measured),
                spread_text(rate),
                "" if name == ours else number(multiple),
                number(own),
                number(kernel),
                f"{kernel / (own + kernel):.0%}" if own + kernel else "",
            ]
        )
    head = (
        "server",
        "version",
        "deliveries/s",
        "rounds",
        f"{ours} against it",
        "own µs",
        "kernel µs",
        "kernel's share",
    )
    return markdown(head, lines, right=range(2, 8))


def _multiple(ours: Row, theirs: Row) -> float:
    """Our rate as a multiple of theirs: the median of the rounds' ratios, as for the goals."""
    if len(ours.rounds) != len(theirs.rounds) or not ours.rounds:
        return ours.value / theirs.value
    return statistics.median(our / their for our, their in zip(ours.rounds, theirs.rounds, strict=True))


def _after(text: str, start: str) -> str:
    return text.removeprefix(start) if text.startswith(start) else ""


def _cost(rows: dict[str, Row], name: str) -> tuple[float, ...]:
    """Own and kernel's microseconds of a delivery; empty where they were not measured."""
    start = f"processor time of a delivery, {name}"
    found = [rows.get(f"{start}, its own"), rows.get(f"{start}, the kernel's")]
    return tuple(row.value for row in found if row is not None)


# --- latency -------------------------------------------------------------------------------------------

_PERCENTILE = re.compile(r"(.*), p(50|95|99)$")


def latency(results: Results) -> str:
    """A line of percentiles for each situation."""
    found: dict[str, dict[str, str]] = {}
    for row in rows_of(results.get("latency")):
        match = _PERCENTILE.match(row.name)
        if match:
            found.setdefault(match[1], {})[match[2]] = number(row.measured)
    lines = [
        [name, *(values.get(percent, "") for percent in ("50", "95", "99"))] for name, values in found.items()
    ]
    table = markdown(("to", "p50 ms", "p95 ms", "p99 ms"), lines, right=(1, 2, 3))
    syncs = [row for row in rows_of(results.get("latency")) if row.name == "one fsync"]
    return table + "".join(f"\n\nOne fsync here: {number(row.measured)} ms." for row in syncs)


# --- memory --------------------------------------------------------------------------------------------


def memory(results: Results) -> str:
    """What is measured in bytes."""
    rows = [row for row in rows_of(results.get("connections")) if row.unit == "bytes"]
    return markdown(("", "bytes"), [[row.name, number(row.measured)] for row in rows], right=(1,))


# --- capacity ------------------------------------------------------------------------------------------


def costs(results: Results) -> Costs | None:
    """What was measured of one of everything; None where a run is missing."""
    runs = [results.get(name) for name in ("fanout", "latency", "connections")]
    found = {row.name: row.measured for run in runs for row in rows_of(run) if row.measured is not None}
    series = results.get("connections", {}).get("series")
    if None in runs or not series or not {DELIVERY, HEARTBEAT} <= found.keys():
        return None
    return Costs(
        delivery_s=found[DELIVERY] / 1e6,
        heartbeat_s=found[HEARTBEAT] / 1e6,
        own_notification_s=found["processor time of an own notification, by batches"] / 1e6,
        publish_s=found["processor time of a publish over HTTP"] / 1e6,
        process_bytes=series[-1][1],
        kernel_bytes=series[-1][2] / 2,
    )


def capacity(results: Results) -> str:
    """What 100,000 and 1,000,000 connections would take."""
    found = costs(results)
    if found is None:
        return "Not measured yet: needs the runs `fanout`, `latency` and `connections`."
    every = [needs(size, found) for size in SIZES]
    rows: list[tuple[str, Callable[[Needs], str]]] = [
        ("memory of the processes", lambda need: f"{number(need.process_gb)} GB"),
        ("memory of the kernel, the server's ends", lambda need: f"{number(need.kernel_gb)} GB"),
        ("cores at work for heartbeats", lambda need: number(need.heartbeat_cores)),
        (f"… for {OWN_A_MINUTE:g} own notification a minute each", lambda need: number(need.own_cores)),
        ("… the same, each by a call of its own", lambda need: number(need.single_cores)),
        (f"… for {BROADCASTS_A_MINUTE:g} broadcast a minute", lambda need: number(need.broadcast_cores)),
        ("**cores, half busy, by batches**", lambda need: f"**{number(need.cores)}**"),
        ("core seconds of one broadcast", lambda need: number(need.broadcast_s)),
    ]
    lines = [[name, *(show(need) for need in every)] for name, show in rows]
    processes = [f"{-(-size // CONNECTIONS_OF_PROCESS):,}" for size in SIZES]
    lines.append([f"processes of {CONNECTIONS_OF_PROCESS:,} connections", *processes])
    table = markdown(("", *(f"{size:,} connections" for size in SIZES)), lines, right=(1, 2))
    return f"{_spelled(found)}\n\n{table}"


def _spelled(found: Costs) -> str:
    figures = (
        (f"a delivery to each of {CONNECTIONS_OF_PROCESS:,}", found.delivery_s * 1e6, "µs of a core"),
        ("a heartbeat with its answers", found.heartbeat_s * 1e6, "µs"),
        ("an own notification, published by batches,", found.own_notification_s * 1e6, "µs"),
        ("a publish by a call of its own", found.publish_s * 1e6, "µs"),
        ("a connection", found.process_bytes, "bytes of the process"),
        ("and beside it", found.kernel_bytes, "bytes of the kernel"),
    )
    return f"Measured: {', '.join(f'{what} {number(value)} {unit}' for what, value, unit in figures)}."


# --- the document --------------------------------------------------------------------------------------


def machines(results: Results) -> str:
    """When and where each run was."""
    lines = []
    for name, result in results.items():
        machine = result["machine"]
        where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB"
        commit = result.get("commit", "")
        lines.append([f"`{name}`", result["date"], commit, where, machine["kernel"], machine["python"]])
    return markdown(("run", "date", "commit", "machine", "kernel", "Python"), lines)


def tables(results: Results) -> dict[str, str]:
    """Every table by its name in the document."""
    return {
        "goals": goals(results),
        "websocket-servers": servers(results.get("fanout"), "notifyd"),
        "sse-servers": servers(results.get("sse"), "notifyd SSE"),
        "latency": latency(results),
        "memory": memory(results),
        "capacity": capacity(results),
        "machines": machines(results),
    }


def filled(document: str, made: dict[str, str]) -> str:
    """The document with each table in its place. Raises ValueError where one has no place."""
    for name, table in made.items():
        place = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(document):
            raise ValueError(f"the document has no place for {name}")
        literal = table.replace("\\", "\\\\")
        document = place.sub(rf"\1{literal}\n\2", document)
    return document


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=(__doc__ or ""))
    parser.add_argument("--check", action="store_true", help="only say whether the document is stale")
    asked = parser.parse_args(arguments)
    before = DOCUMENT.read_text()
    after = filled(before, tables(read_all()))
    if asked.check and before != after:
        print("docs/performance.md is stale: run python -m bench.tables", file=sys.stderr)
        return 1
    if before != after:
        DOCUMENT.write_text(after)
        print("docs/performance.md is up to date now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
