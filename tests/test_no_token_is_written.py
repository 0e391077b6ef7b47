"""The check that every test undergoes: a token in its output fails it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LEAKS = """
import structlog
from notifyd.auth import mint_token

def test_tells():
    token = mint_token("s" * 40, "ann", now_ms=1_780_000_000_000, ttl_s=60)
    structlog.get_logger().warning("hello", path=f"/ws?token={token}")

def test_tells_not():
    mint_token("s" * 40, "ben", now_ms=1_780_000_000_000, ttl_s=60)
    structlog.get_logger().warning("hello", path="/ws?token=[hidden]")
"""


def test_a_test_that_logs_a_token_fails(tmp_path: Path) -> None:
    (tmp_path / "test_leaks.py").write_text(LEAKS)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    options = ["-p", "tests.conftest", "--rootdir", str(tmp_path), str(tmp_path / "test_leaks.py")]
    ran = subprocess.run(
        [sys.executable, *command, *options], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    assert "1 tokens are in the output" in ran.stdout
