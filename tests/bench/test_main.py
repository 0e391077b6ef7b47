"""The command: what it teaches, prints and answers, without measuring anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench import __main__ as command
from bench import registry, results
from bench.load import LoadFailed
from bench.report import Row, at_least, figure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(results, "QUICK_FOLDER", tmp_path / "quick")


def measured(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> None:
    def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
        say(f"quick: {quick}")
        return list(rows)

    monkeypatch.setattr(command, "load_run", lambda name: run)


def test_help_names_every_bench_and_what_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and bench.about in said for name, bench in registry.BENCHES.items())
    assert "make bench-peers" in said
    assert "python -m bench fanout --quick" in said


def test_json_has_the_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    measured(monkeypatch, at_least("a", 1.0, 2.0), figure("b", 3.0, "/s"))
    assert command.main(["append", "--json", "--quick"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)["rows"]
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0] | {"goal": 1.0, "measured": 2.0, "unit": "×", "holds": True} == rows[0]
    assert "[append 0:00] quick: True" in said.err


def test_a_missed_goal_is_exit_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, at_least("a", 1.0, 0.5))
    assert command.main(["append"]) == 1
    said = capsys.readouterr().out
    assert "MISSED" in said
    assert "$ python -m bench append" in said


def test_quick_runs_are_put_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    measured(monkeypatch, figure("a", 1.0, ""))
    command.main(["append", "--quick"])
    assert not (tmp_path / "append.json").exists()
    assert (tmp_path / "quick" / "append.json").exists()


def test_a_lost_message_is_said_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(*, quick: bool, say: Callable[[str], None]) -> list[Row]:
        raise LoadFailed("a message was lost")

    monkeypatch.setattr(command, "load_run", lambda name: run)
    assert command.main(["append"]) == 1
    assert "FAILED: a message was lost" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_bench_that_is_there_can_be_run() -> None:
    there = [name for name in registry.BENCHES if registry.is_there(name)]
    assert {"fanout", "sse", "latency", "append", "checker"} <= set(there)
    assert all(callable(registry.load_run(name)) for name in there)
    assert not registry.is_there("nothing-of-this-name")
