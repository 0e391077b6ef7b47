"""The React example of clients/js, built and in front of a running notifyd, as long as a block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = Path(__file__).parent.parent / "clients" / "js"
VITE = CLIENT / "node_modules" / ".bin" / "vite"
#: Written by `make js` when all is installed.
READY = CLIENT / "node_modules" / ".ready"
CONFIG = ["--config", "example/vite.config.js"]
PATIENCE_S = 30.0


def missing() -> str | None:
    """What it needs and does not find, in words."""
    if shutil.which("node") is None:
        return "Node is not installed"
    return None if READY.exists() else "the packages of clients/js are not installed: make js"


@contextmanager
def example(notifyd: str, mode: str = "production") -> Iterator[str]:
    """Its address; what it says to the server goes on to the address `notifyd`.

    In the mode `development` React is its development build, in which StrictMode mounts everything twice.
    Raises CalledProcessError.
    """
    with tempfile.TemporaryDirectory(prefix="notifyd-example-") as folder:
        out = ["--outDir", folder]
        built = [str(VITE), "build", *CONFIG, *out, "--emptyOutDir", "--mode", mode, "--logLevel", "error"]
        subprocess.run(built, cwd=CLIENT, check=True, env=os.environ | {"NODE_ENV": mode})
        with _previewed(out, notifyd) as address:
            yield address


@contextmanager
def _previewed(out: list[str], notifyd: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    where = ["--host", "127.0.0.1", "--port", str(port), "--strictPort"]
    with subprocess.Popen(
        [str(VITE), "preview", *CONFIG, *out, *where],
        cwd=CLIENT,
        env=os.environ | {"NOTIFYD_URL": notifyd},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
