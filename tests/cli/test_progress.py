"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from notifyd.cli.progress import progress
from notifyd.importer import Progress

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock


async def test_elsewhere_a_remark_now_and_then(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("rows", plain_every_s=5) as (notice, show):
        for second in range(12):
            show(Progress(second * 1000, second, 24))
            await trio.sleep(1)
        notice("a remark")
    expected = "5,000 rows read, 21% of the file\n10,000 rows read, 42% of the file\na remark\n"
    assert capsys.readouterr().err == expected


async def test_a_pipe_has_no_size(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("rows", plain_every_s=5) as (_, show):
        await trio.sleep(6)
        show(Progress(7, 0, 0))
    assert capsys.readouterr().err == "7 rows read\n"


def test_on_a_terminal_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with open(theirs, "w", closefd=True) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with progress("rows", plain_every_s=5) as (notice, show):
            show(Progress(1234, 5, 10))
            notice("f:2: [bold]not markup[/bold]")
    shown = _all_of(ours)
    assert "1,234 rows" in shown
    assert "50%" in shown
    assert "[bold]not markup[/bold]" in shown


def _all_of(terminal: int) -> str:
    """What was written before the other end was closed; the kernel may hand it over in pieces."""
    found = b""
    with suppress(OSError):
        while part := os.read(terminal, 65536):
            found += part
    os.close(terminal)
    return found.decode()


async def test_without_a_terminal_it_may_be_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("lines") as (notice, show):
        show(Progress(7, 0, 0))
        notice("a remark")
    assert capsys.readouterr().err == "a remark\n"
