"""How far a long input is, on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from notifyd.cli.options import say
from notifyd.importer import Progress

Notice = Callable[[str], None]


@contextmanager
def progress(
    what: str, *, plain_every_s: float | None = None
) -> Iterator[tuple[Notice, Callable[[Progress], None]]]:
    """A bar on a terminal; elsewhere a remark every `plain_every_s` seconds, or none.

    Gives how to say something beside it, and what to call with each progress. `what` is counted; a size of 0
    is not known.
    """
    if not sys.stderr.isatty():
        yield say, _Plain(what, plain_every_s).show if plain_every_s is not None else _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True, markup=False, highlight=False)) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                description=f"{progress.rows:,} {what}",
                completed=progress.position,
                total=progress.size or None,
            )

        yield (lambda text: bar.console.print(text, soft_wrap=True)), show


def _nothing(_progress: Progress) -> None:
    """Nobody looks."""


class _Plain:
    def __init__(self, what: str, every_s: float) -> None:
        self._what = what
        self._every_s = every_s
        self._next_at = trio.current_time() + every_s

    def show(self, progress: Progress) -> None:
        if trio.current_time() >= self._next_at:
            self._next_at = trio.current_time() + self._every_s
            share = f", {progress.position / progress.size:.0%} of the file" if progress.size else ""
            say(f"{progress.rows:,} {self._what} read{share}")
