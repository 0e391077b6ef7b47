"""Proxies that run as long as a block."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_S = 30


@contextmanager
def nginx(desk: Any, configuration: str, port: int) -> Iterator[str]:
    """nginx with a whole configuration, everything it writes being in the desk's folder."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: make quickstarts")
    _write(desk, configuration)
    settings = f"daemon off; pid {desk.folder}/nginx.pid;"
    command = ["nginx", "-p", str(desk.folder), "-c", "nginx.conf", "-e", "stderr", "-g", settings]
    with running(command, desk, port) as address:
        yield address


def reload_nginx(desk: Any, configuration: str) -> None:
    """As `nginx -s reload`: open connections stay with the old configuration."""
    _write(desk, configuration)
    os.kill(int((desk.folder / "nginx.pid").read_text()), signal.SIGHUP)


def _write(desk: Any, configuration: str) -> None:
    paths = "".join(
        f"{name}_temp_path {desk.folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = configuration.replace("/var/log/nginx/", f"{desk.folder}/")
    desk.write("nginx.conf", text.replace("http {", f"http {{ {paths}", 1))


@contextmanager
def running(command: list[str], desk: Any, port: int) -> Iterator[str]:
    """A proxy that listens on `port`; it ends well when the block is left."""
    with (desk.folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=desk.folder, env=desk.env, stdout=log, stderr=log)
        try:
            wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    assert process.returncode == 0, (desk.folder / "proxy.log").read_text()


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
