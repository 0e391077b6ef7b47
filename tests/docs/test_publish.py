"""Publishing from each framework, run from the text of its chapter."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: What `make quickstarts` installs.
TOOLS = Path(__file__).parents[2] / ".quickstarts"


class Chapter(NamedTuple):
    """A file of the document, how it is started on `{port}`, and what it needs."""

    file: str
    start: str
    needs: Callable[[], bool]


def in_venv(name: str) -> Callable[[], bool]:
    return lambda: (TOOLS / "venv/bin" / name).exists()


CHAPTERS = {
    "express": Chapter("shop.mjs", "node shop.mjs", lambda: (TOOLS / "node_modules/express").exists()),
    "django": Chapter(
        "shop_django.py",
        f"{TOOLS}/venv/bin/python shop_django.py runserver --noreload {{port}}",
        in_venv("django-admin"),
    ),
    "fastapi": Chapter(
        "shop_fastapi.py",
        f"{TOOLS}/venv/bin/uvicorn shop_fastapi:app --port {{port}}",
        in_venv("fastapi"),
    ),
    "rails": Chapter("config.ru", "puma -b tcp://127.0.0.1:{port}", lambda: shutil.which("puma") is not None),
}


@pytest.fixture
def notifyd(desk: Any) -> Any:
    """A server, and somebody who listens as user 7."""
    settings = {
        "NOTIFYD_JWT_SECRET": "change-me-change-me-change-me-32",
        "NOTIFYD_PUBLISH_KEYS": "my-publish-key",
        "NOTIFYD_URL": f"http://127.0.0.1:{desk.port}",
        "NOTIFYD_KEY": "my-publish-key",
    }
    desk.env |= settings
    desk.terminal("server").start("notifyd serve")
    desk.terminal("server").expect(["listening on …"])
    return desk


def entries(desk: Any) -> list[dict[str, Any]]:
    """What user 7 has, oldest first."""
    token = subprocess.run(
        ["notifyd", "token", "--user", "7"],
        env=desk.env,
        cwd=desk.folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{desk.port}/v1/notifications", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: list[dict[str, Any]] = json.load(answer)["notifications"]
    return found[::-1]


@pytest.mark.parametrize("name", CHAPTERS)
def test_publishing_from(document: Callable[[str], Any], notifyd: Any, free_port: Any, name: str) -> None:
    chapter = CHAPTERS[name]
    if not chapter.needs():
        pytest.skip(f"{name} is not installed: make quickstarts")
    port = free_port()
    notifyd.write(chapter.file, document("docs/publish.md").file(chapter.file))
    if (TOOLS / "node_modules").exists():
        (notifyd.folder / "node_modules").symlink_to(TOOLS / "node_modules")
    notifyd.env |= {"PORT": str(port)}
    listener = notifyd.terminal("listener")
    listener.start("notifyd listen --user 7 --json")
    listener.expect(["…connected…"])
    notifyd.terminal("shop").start(chapter.start.format(port=port))
    finish = f"curl -fsS -X POST http://127.0.0.1:{port}/imports"
    retry = "--retry 60 --retry-delay 1 --retry-connrefused"
    customer = notifyd.terminal("customer")
    customer.start(
        f"{finish}/4711/finish {retry} && {finish}/4711/finish && {finish}/4712/finish && echo done"
    )
    customer.expect(["…done"])
    listener.expect(["…job-completed…4711…", "…job-completed…4712…"])
    assert [entry["data"]["job_id"] in (4711, "4711") for entry in entries(notifyd)] == [True, False]


@pytest.mark.parametrize(("name", "message"), [("morning", "New deals"), ("evening", "The shops close")])
def test_cron(document: Callable[[str], Any], notifyd: Any, name: str, message: str) -> None:
    line = document("docs/publish.md").file(name)
    command = line.split(maxsplit=5)[5].replace("\\%", "%")  # as cron reads it: crontab(5)
    (notifyd.folder / "notifyd.key").write_text("my-publish-key\n")
    terminal = notifyd.terminal("cron")
    for _ in range(2):
        terminal.start(f"HOME={notifyd.folder} sh -c {shlex.quote(notifyd.here(command))} && echo sent")
        terminal.expect(["…sent"])
    found = entries(notifyd)
    assert [message in entry["data"]["message"] for entry in found] == [True], "told once"


def test_consoles(document: Callable[[str], Any], notifyd: Any) -> None:
    for block in document("docs/publish.md").consoles():
        notifyd.terminal().run(block)
    assert [entry["data"]["severity"] for entry in entries(notifyd)] == ["error", "info"]
    assert os.environ.get("NOTIFYD_KEY") is None
