"""The order in which Trio runs its tasks, in the hand of a seed.

The only file that uses Trio's private names; tests/testing/test_scheduler.py fails clearly when they change.
Trio shuffles every batch of runnable tasks with a random generator of its own, and sorts it before that only
when it is asked to: it then depends on nothing but the generator.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio._core import _run

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The module, whose two names are set.
_scheduler: Any = _run
_FLAG, _GENERATOR = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """Around a whole `trio.run`: the same seed makes the same choices. Everything is as before afterwards."""
    missing = [name for name in (_FLAG, _GENERATOR) if not hasattr(_scheduler, name)]
    if missing:
        raise RuntimeError(f"Trio {trio.__version__} has no {missing[0]}: its scheduler cannot be seeded")
    allowed, state = getattr(_scheduler, _FLAG), _scheduler._r.getstate()
    setattr(_scheduler, _FLAG, True)
    _scheduler._r.seed(seed)
    try:
        yield
    finally:
        setattr(_scheduler, _FLAG, allowed)
        _scheduler._r.setstate(state)
