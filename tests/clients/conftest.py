"""Node and the packages of clients/js, or a skip that says what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENT = Path(__file__).parents[2] / "clients" / "js"


@pytest.fixture
def in_client() -> Callable[..., str]:
    """`in_client(*command)`: runs it in clients/js; what it printed. It must end well."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (CLIENT / "node_modules" / ".ready").exists():
        pytest.skip("the packages of clients/js are not installed: make js")

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    return run
