"""What a run leaves behind: `results/NAME.json`, with the machine it ran on but not its name."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import Row
from bench.subjects import SUBJECTS

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent / "results"
#: Short runs are put aside: what the documents show comes from whole ones.
QUICK_FOLDER = FOLDER / "quick"


def write(name: str, rows: Sequence[Row], *, quick: bool, seconds: float, folder: Path | None = None) -> Path:
    """Keep a run's rows, and its series if it has any. Returns the file."""
    path = (folder / f"{name}.json") if folder else path_of(name, quick=quick)
    content = {
        "name": name,
        "command": command(name, quick=quick),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "seconds": round(seconds),
        "machine": machine(),
        "versions": versions(),
        "rows": list(map(as_dict, rows)),
        **getattr(rows, "series", {}),
        **_left_aside(name),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def path_of(name: str, *, quick: bool) -> Path:
    """Where a run is kept."""
    return (QUICK_FOLDER if quick else FOLDER) / f"{name}.json"


def _left_aside(name: str) -> dict[str, Any]:
    """What a bench without `Rows` has put into results/NAME.series.json; the file goes."""
    path = FOLDER / f"{name}.series.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    path.unlink()
    return found


def read(name: str, folder: Path = FOLDER) -> dict[str, Any] | None:
    """What `write` kept, or None."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept


def rows_of(result: dict[str, Any] | None) -> list[Row]:
    """The rows in what was kept; none for None."""
    return [from_dict(each) for each in result["rows"]] if result else []


def as_dict(row: Row) -> dict[str, Any]:
    spread = {"low": min(row.rounds), "high": max(row.rounds)} if row.rounds else {}
    return {**row._asdict(), **spread}


def from_dict(kept: dict[str, Any]) -> Row:
    return Row(
        **{name: kept[name] for name in ("name", "goal", "measured", "unit", "holds", "most")},
        rounds=tuple(kept["rounds"]),
        told=kept.get("told", ""),
    )


def command(name: str, *, quick: bool = False) -> str:
    """What repeats a run."""
    return f"python -m bench {name}{' --quick' if quick else ''}"


def commit() -> str:
    """What was measured: the commit, with a `+` when files of the server or the benches differed from it."""
    at = _git("rev-parse", "--short=10", "HEAD")
    changed = _git("status", "--porcelain", "--", "notifyd", "bench/*.py", "bench/*.c")
    return at and at + ("+" if changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=FOLDER, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    return {
        name: subject.version()
        for name, subject in SUBJECTS.items()
        if subject.missing() is None and subject.version() != "this"
    }
