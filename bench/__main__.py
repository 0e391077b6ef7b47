"""`python -m bench [NAME] [--quick] [--json]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Never

from bench import results
from bench.load import LoadFailed
from bench.registry import BENCHES, is_there, load_run
from bench.report import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.report import Row

EPILOG = """\
a row with a goal holds or is MISSED; exit status 1 when one was missed, or when a message was lost or came
twice. A goal that could not be measured says why, and counts as neither. What is marked × is a ratio of two
things measured in the same run, the server on the first core and the load on the second, taking turns.
Whole runs are kept in bench/results/NAME.json, quick ones in bench/results/quick/; --json prints the rows:
{"rows": [{"name", "goal", "measured", "unit", "holds", ...}]}

other servers are measured once `make bench-peers` has installed them; those that are missing are named.
`python -m bench.tables` and `python -m bench.plots` put whole runs into docs/performance.md.

examples:
  make bench-peers                      install the other servers, and try each
  python -m bench fanout --quick        half a minute of broadcasts
  python -m bench latency --json        rows for another program
  make bench                            everything, its tables and its plots: a quarter of an hour
"""


def _parser() -> argparse.ArgumentParser:
    lines = [
        f"  {name:<12} {bench.about} ({_clock(bench.full_s)}, quick {_clock(bench.quick_s)})"
        for name, bench in BENCHES.items()
    ]
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure notifyd against the limits of this machine, and against others.\n\n"
        + "\n".join(lines),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", choices=list(BENCHES), metavar="NAME", help="all when left out")
    parser.add_argument("--quick", action="store_true", help="a short run, at most half a minute for each")
    parser.add_argument("--json", action="store_true", help="rows as JSON on standard output")
    parser.add_argument("--place", default="", help=argparse.SUPPRESS)  # which of how many, for the progress
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; exit status 1 when a goal was missed."""
    asked = _parser().parse_args(arguments)
    if asked.name:
        return _one(asked)
    return _all(asked)


def _one(asked: argparse.Namespace) -> int:
    say = _progress(f"{asked.place} {asked.name}".strip())
    begun = time.monotonic()
    say(BENCHES[asked.name].about)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # such as the log of what runs in this process
            rows = load_run(asked.name)(quick=asked.quick, say=say)
    except LoadFailed as error:
        say(f"FAILED: {error}")
        if asked.json:
            print(json.dumps({"rows": [], "failed": str(error)}, indent=1, ensure_ascii=False))
        return 1
    except ModuleNotFoundError as error:
        print(f"there is no bench {asked.name}: {error}", file=sys.stderr)
        return 2
    results.write(asked.name, rows, quick=asked.quick, seconds=time.monotonic() - begun)
    _print([asked.name], {asked.name: rows}, asked)
    return _status(rows)


def _all(asked: argparse.Namespace) -> int:
    """Each in a process of its own, so that none finds what another has left behind."""
    names = [name for name in BENCHES if is_there(name)]
    kept: dict[str, list[Row]] = {}
    failed = []
    for number, name in enumerate(names, start=1):
        begun = time.time()
        command = [sys.executable, "-m", "bench", name, "--place", f"{number}/{len(names)}"]
        done = subprocess.run([*command, *["--quick"][: asked.quick]], stdout=subprocess.DEVNULL, check=False)
        path = results.path_of(name, quick=asked.quick)
        if done.returncode in (0, 1) and path.exists() and path.stat().st_mtime >= begun:
            kept[name] = results.rows_of(results.read(name, path.parent))
        else:
            failed.append(name)
    _print(names, kept, asked)
    for name in failed:
        print(f"FAILED: {results.command(name, quick=asked.quick)}", file=sys.stderr)
    return 1 if failed else _status([row for rows in kept.values() for row in rows])


def _print(names: Sequence[str], rows: dict[str, list[Row]], asked: argparse.Namespace) -> None:
    if asked.json:
        every: list[dict[str, Any]] = [
            {**results.as_dict(row), "command": results.command(name, quick=asked.quick)}
            for name in names
            for row in rows.get(name, [])
        ]
        print(json.dumps({"rows": every}, indent=1, ensure_ascii=False))
        return
    tables = [table(rows[name], results.command(name, quick=asked.quick)) for name in names if rows.get(name)]
    print("\n\n".join(tables))


def _status(rows: Sequence[Row]) -> int:
    return int(any(row.holds is False for row in rows))


def _progress(what: str) -> Callable[[str], None]:
    """Says on standard error what happens in which bench, and how far the clock is."""
    begun = time.monotonic()
    return lambda text: print(
        f"[{what} {_clock(time.monotonic() - begun)}] {text}", file=sys.stderr, flush=True
    )


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _stop(number: int, frame: object) -> Never:
    """SIGTERM stops like Ctrl-C: every server that was started is ended."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
