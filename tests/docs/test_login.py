"""Logging in, run from the text: tokens of three languages, and a real browser with four back ends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

#: What `make quickstarts` installs.
TOOLS = Path(__file__).parents[2] / ".quickstarts"
PATIENCE_S = 60


class BackEnd(NamedTuple):
    """A file of the document, how it is started on `{port}`, and whether that can be done here."""

    file: str
    start: str
    installed: bool


BACK_ENDS = {
    "express": BackEnd("login.mjs", "node login.mjs", (TOOLS / "node_modules/express-session").exists()),
    "django": BackEnd(
        "login_django.py",
        f"{TOOLS}/venv/bin/python login_django.py runserver --noreload {{port}}",
        (TOOLS / "venv/bin/django-admin").exists(),
    ),
    "fastapi": BackEnd(
        "login_fastapi.py",
        f"{TOOLS}/venv/bin/uvicorn login_fastapi:app --port {{port}}",
        (TOOLS / "venv/bin/fastapi").exists(),
    ),
    "rails": BackEnd("config.ru", "puma -b tcp://127.0.0.1:{port}", shutil.which("puma") is not None),
}

TOKENS = {
    "make_token.mjs": ("node", (TOOLS / "node_modules/jsonwebtoken").exists()),
    "make_token.py": (f"{TOOLS}/venv/bin/python", (TOOLS / "venv/bin/python").exists()),
    "make_token.rb": ("ruby", shutil.which("puma") is not None),
}


@pytest.fixture
def login(document: Callable[[str], Any], desk: Any) -> Any:
    """The document, with its modules of Node at hand."""
    if (TOOLS / "node_modules").exists():
        (desk.folder / "node_modules").symlink_to(TOOLS / "node_modules")
    desk.env |= {
        "NOTIFYD_URL": f"http://127.0.0.1:{desk.port}",
        "NOTIFYD_KEY": "my-publish-key",
        "NOTIFYD_JWT_SECRET": "change-me-change-me-change-me-32",
    }
    return document("docs/login.md")


def start_server(login: Any, desk: Any, shop_port: int) -> None:
    (server,) = [block for block in login.consoles() if block.terminal == "server"]
    text = server.text.replace("localhost:3000", f"127.0.0.1:{shop_port}")
    desk.terminal("server").run(server._replace(text=text))


@pytest.mark.parametrize("file", TOKENS)
def test_a_token_of(login: Any, desk: Any, file: str) -> None:
    runtime, installed = TOKENS[file]
    if not installed:
        pytest.skip(f"{runtime} has not what {file} needs: make quickstarts")
    start_server(login, desk, 3000)
    desk.write(file, login.file(file))
    (browser,) = [block for block in login.consoles() if block.terminal == "browser"]
    text = browser.text.replace("node make_token.mjs", f"{runtime} {file}")
    # The page's origin is in the allow-list of this document, which replaces the rule of the same host.
    text = text.replace("Origin: http://localhost:8000", "Origin: http://127.0.0.1:3000")
    desk.terminal("browser").run(browser._replace(text=text))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    yield page
    page.context.close()


@pytest.mark.parametrize("name", BACK_ENDS)
def test_a_session_of(login: Any, desk: Any, free_port: Callable[[], int], page: Page, name: str) -> None:
    back_end = BACK_ENDS[name]
    if not back_end.installed:
        pytest.skip(f"{name} is not installed: make quickstarts")
    port = free_port()
    start_server(login, desk, port)
    desk.write("index.html", login.file("index.html"))
    desk.write(back_end.file, login.file(back_end.file))
    desk.env |= {"PORT": str(port)}
    desk.terminal("shop").start(back_end.start.format(port=port))
    waiting = desk.terminal("waiting")
    waiting.start(
        f"curl -sS --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/ && echo up"
    )
    waiting.expect(["…up"])

    page.goto(f"http://127.0.0.1:{port}/")
    with page.expect_response("**/events?**") as stream:
        assert log_in(page) == 204
        page.reload()
    assert stream.value.status == 200
    publish(desk, "Hello, seven")
    expect(page.locator("#messages li")).to_have_text(["Hello, seven"])


def log_in(page: Page) -> Any:
    return page.evaluate(
        """async () => (await fetch("/login", {
            method: "POST", body: JSON.stringify({ user: "7" }),
            headers: { "Content-Type": "application/json" } })).status"""
    )


def publish(desk: Any, message: str) -> None:
    subprocess.run(
        ["notifyd", "publish", "--user", "7", "--message", message],
        env=desk.env,
        cwd=desk.folder,
        check=True,
        capture_output=True,
    )
