"""A server in a process of its own, with its log in a file."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from notifyd.auth import mint_token
from notifyd.clock import wall_ms
from tests.fuzz.campaign import Target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "fuzz-secret-fuzz-secret-fuzz-secret-fuzz"
PUBLISH_KEY = "fuzz-publish-key"


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Target]:
    """Runs as long as the block; that it is still the same process then is asserted."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTIFYD_")}
    environment |= {
        "NOTIFYD_LISTEN": "127.0.0.1:0",
        "NOTIFYD_DATABASE_URL": f"sqlite:///{folder}/fuzz.db",
        "NOTIFYD_JWT_SECRET": SECRET,
        "NOTIFYD_PUBLISH_KEYS": PUBLISH_KEY,
        "NOTIFYD_MAX_CONNECTIONS_PER_USER": "1000",
        "NOTIFYD_DRAIN_SECONDS": "0",
        "NOTIFYD_CANARY_SECONDS": "0",
    }
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "notifyd", "serve"],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=out,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().decode().rsplit(":", 1)[1])
            token = mint_token(SECRET, "victim", now_ms=wall_ms(), ttl_s=7200)
            yield Target(port, process.pid, token, PUBLISH_KEY, log)
            assert process.poll() is None, "the server has ended"
        finally:
            process.terminate()
            process.communicate(timeout=30)
