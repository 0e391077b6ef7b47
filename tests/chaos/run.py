"""One run of one fault: its options, what it counts, and the row that it becomes in the table."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from tests.chaos.checker import FAILURES, Verdict
from tests.chaos.publishers import CANARY, PUBLISH_KEY
from tests.chaos.readers import SECRET
from tests.chaos.server import ROOT
from tests.chaos.world import SETTLE_S, Load, World, judge, open_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.chaos.cluster import Cluster

#: The server as a process that can be sabotaged.
VICTIM = ("-m", "tests.chaos.victim")
#: Failures told in full.
TOLD = 20


@dataclass
class Run:
    """What a fault is given, and where it tells what came of it."""

    name: str
    n: int
    seed: int
    folder: Path
    cluster: Cluster | None = None  # None: on SQLite
    quiet: bool = False
    sabotage: str | None = None
    patience_s: float = SETTLE_S  # for the last publication of a world
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    worlds: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def progress(self, text: str) -> None:
        """A line for whoever watches."""
        if not self.quiet:
            print(f"{time.monotonic() - self.began:7.1f} s  {self.name}: {text}", file=sys.stderr, flush=True)

    def fail(self, text: str) -> None:
        """A promise was broken."""
        self.failures.append(text)
        self.progress(f"FAILED: {text}")

    def expect(self, holds: bool, text: str) -> None:
        """Fail with `text` unless it holds."""
        if not holds:
            self.fail(text)

    def most(self, name: str, value: float) -> None:
        """Keep the largest value of a figure."""
        self.figures[name] = round(max(value, self.figures.get(name, value)), 3)

    @asynccontextmanager
    async def world(self, load: Load | None = None, **settings: str) -> AsyncIterator[World]:
        """A fresh world; its history is judged when the block ends, and its folder kept if that failed."""
        self.worlds += 1
        folder = self.folder / f"{self.name}-{self.worlds}"
        before = len(self.failures)
        try:
            with self._database() as url:
                async with open_world(
                    folder, self.seed + self.worlds, load=load, database_url=url, **settings
                ) as world:
                    world.patience_s = self.patience_s
                    if self.sabotage is not None:
                        world.server.command = VICTIM
                        world.server.settings["CHAOS_SABOTAGE"] = self.sabotage
                    yield world
        except* trio.TooSlowError as group:
            self.fail(f"world {self.worlds} did not come to its end in time: {group.exceptions[0]!r}")
        self._judge(folder)
        if len(self.failures) == before:
            shutil.rmtree(folder)

    @property
    def database(self) -> str:
        """Its kind."""
        return "sqlite" if self.cluster is None else "postgresql"

    def _database(self) -> AbstractContextManager[str | None]:
        """A new one for the next world; None: a file in its folder."""
        if self.cluster is None:
            return nullcontext()
        return self.cluster.database(f"chaos_{self.name.replace('-', '_')}_{self.worlds}")

    def _judge(self, folder: Path) -> None:
        verdict = judge(folder)
        self.verdicts.append(verdict)
        for log in sorted(folder.glob("server-*.log")):
            text = log.read_text(errors="replace")
            for secret in (CANARY, SECRET, PUBLISH_KEY):
                self.expect(secret not in text, f"{secret} stands in {log.name}")
        for kind in FAILURES:
            for text in verdict.examples[kind]:
                self.fail(f"{kind}: {text}")

    def total(self, name: str) -> int:
        return sum(getattr(verdict, name) for verdict in self.verdicts)

    def failed(self, kind: str) -> int:
        return sum(verdict.failures[kind] for verdict in self.verdicts)

    def bound(self, known: Fault) -> float | None:
        """3/N over the trials that reached their fault; None: N is too small, or it does not hold."""
        reached = int(self.figures.get("reached", self.trials))
        if self.failures or reached <= 3 or not known.independent:
            return None
        return 3 / reached

    def row(self, known: Fault) -> dict[str, Any]:
        """The line of the table, and everything else as numbers."""
        return {
            "promise": known.promises,
            "fault": f"{known.number} {known.name}",
            "n": self.n,
            "trials": self.trials,
            "failures": len(self.failures),
            "bound": self.bound(known),
            "commit": commit(),
            "database": self.database,
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began, 1),
            "publications": self.total("publications"),
            "acknowledged": self.total("acknowledged"),
            "deliveries": self.total("delivered"),
            "recovered": self.total("recovered"),
            "resumes": self.total("resumes"),
            "declared": self.total("declared"),
            **{kind: self.failed(kind) for kind in FAILURES},
            "figures": self.figures,
            "told": self.failures[:TOLD],
        }


@dataclass(frozen=True)
class Fault:
    """One fault that can be asked for by name."""

    name: str
    number: str
    promises: str
    n: int
    about: str
    run: Callable[[Run], Awaitable[None]]
    needs: tuple[str, ...] = ()
    only: str = ""  # the one kind of database that it is about; empty: any
    independent: bool = True  # whether one trial has nothing to do with the next

    def is_about(self, database: str) -> bool:
        """Whether it can be done to this kind of database."""
        return self.only in ("", database)

    def missing(self) -> list[str]:
        """Programs that this machine lacks."""
        return [program for program in self.needs if shutil.which(program) is None]


FAULTS: dict[str, Fault] = {}


def commit() -> str:
    """The code that runs: its short hash, `+` when files differ from it; empty where there is no git."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def fault(
    name: str,
    number: str,
    *,
    promises: str,
    n: int,
    needs: tuple[str, ...] = (),
    only: str = "",
    independent: bool = True,
) -> Callable[[Callable[[Run], Awaitable[None]]], Callable[[Run], Awaitable[None]]]:
    """Register a fault; its docstring is what `--help` says."""

    def register(run: Callable[[Run], Awaitable[None]]) -> Callable[[Run], Awaitable[None]]:
        about = " ".join((run.__doc__ or "").split())
        FAULTS[name] = Fault(name, number, promises, n, about, run, needs, only, independent)
        return run

    return register


__all__ = ["FAULTS", "VICTIM", "Fault", "Load", "Run", "World", "fault"]
