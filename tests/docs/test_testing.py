"""docs/testing.md's example of a simulation is a test file that passes as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import notifyd.testing

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def test_the_example_passes(tmp_path: Path) -> None:
    (example,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        if "run_simulation(story" in block
    ]
    file = tmp_path / "test_example.py"
    file.write_text(example)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout


def test_every_public_name_is_told_of() -> None:
    text = PAGE.read_text()
    inner = {"Link", "Proxy", "TestServer", "FakeClient", "MemoryNetwork", "MemoryStream", "Weather"}
    assert not [name for name in notifyd.testing.__all__ if name not in text and name not in inner]
