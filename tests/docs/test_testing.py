"""docs/testing.md's examples are test files that pass as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import notifyd.testing

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.mark.parametrize(
    ("part", "settings", "passed"),
    [("open_test_server()", "trio_mode = true", "1 passed"), ("run_simulation(story", "", "6 passed")],
)
def test_the_example_passes(tmp_path: Path, part: str, settings: str, passed: str) -> None:
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if part in block
    ]
    file = tmp_path / "test_example.py"
    file.write_text(example)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{settings}\n")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pytest.ini", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert passed in run.stdout


def test_every_public_name_is_told_of() -> None:
    text = PAGE.read_text()
    inner = {"Link", "Proxy", "TestServer", "FakeClient", "MemoryNetwork", "MemoryStream", "Weather"}
    assert not [name for name in notifyd.testing.__all__ if name not in text and name not in inner]
