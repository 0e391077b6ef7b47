"""The page and its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from quart_trio import QuartTrio

from notifyd.api import problems
from notifyd.api.page import operator_page_blueprint, page_blueprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Api


@pytest.fixture
def site(tmp_path: Path, failing_api: Callable[[Exception], Api]) -> Api:
    """An app that serves a folder of ours."""
    for name, content in {
        "index.html": "<!doctype html>",
        "operator.html": "<!doctype html> for operators",
        "client.js": "export {}",
        "style.css": "body {}",
        "icon.svg": "<svg/>",
        "notes.txt": "not to be served",
        "index.html.bak": "not to be served",
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "folder.js").mkdir()
    api = failing_api(RuntimeError())
    api.app = QuartTrio("site", static_folder=None)
    problems.install(api.app)
    api.app.register_blueprint(page_blueprint(tmp_path))
    return api


@pytest.mark.parametrize(
    ("path", "content_type", "content"),
    [
        ("/", "text/html; charset=utf-8", b"<!doctype html>"),
        ("/client.js", "text/javascript; charset=utf-8", b"export {}"),
        ("/assets/client.js", "text/javascript; charset=utf-8", b"export {}"),
        ("/assets/style.css", "text/css; charset=utf-8", b"body {}"),
        ("/assets/icon.svg", "image/svg+xml", b"<svg/>"),
    ],
)
async def test_files_have_their_type(site: Api, path: str, content_type: str, content: bytes) -> None:
    answer = await site.call("GET", path)
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, content_type, content)


@pytest.mark.parametrize(
    "path",
    [
        "/assets/notes.txt",
        "/assets/index.html.bak",
        "/assets/folder.js",
        "/assets/missing.js",
        "/assets/",
        "/assets/../index.html",
        "/assets/..%2findex.html",
        "/assets/%2e%2e/index.html",
        "/assets/a/style.css",
    ],
)
async def test_nothing_else_is_served(site: Api, path: str) -> None:
    answer = await site.call("GET", path)
    assert answer.status == 404
    assert answer.problem == {"type": "not-found", "detail": "There is nothing at this address"}


async def test_an_unchanged_file_is_not_sent_again(site: Api) -> None:
    first = await site.call("GET", "/")
    again = await site.call("GET", "/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])
    other = await site.call("GET", "/", headers={"If-None-Match": '"other"'})
    assert other.status == 200
    assert first.headers["cache-control"] == "no-cache"


async def test_the_page_is_kept_to_itself(site: Api) -> None:
    headers = (await site.call("GET", "/")).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


async def test_the_package_brings_its_page(failing_api: Callable[[Exception], Api]) -> None:
    api = failing_api(RuntimeError())
    assert (await api.call("GET", "/")).body.lower().startswith(b"<!doctype html>")
    for path in ("/client.js", "/assets/app.js", "/assets/style.css"):
        assert (await api.call("GET", path)).status == 200


@pytest.mark.parametrize(
    ("alone", "found"),
    [
        (False, {"/operator": 200, "/": 404, "/client.js": 404, "/assets/style.css": 404}),
        (True, {"/operator": 200, "/": 200, "/client.js": 200, "/assets/style.css": 200}),
    ],
)
async def test_the_operators_page_brings_its_files_where_it_is_alone(
    site: Api, tmp_path: Path, alone: bool, found: dict[str, int]
) -> None:
    site.app = QuartTrio("operators", static_folder=None)
    problems.install(site.app)
    site.app.register_blueprint(operator_page_blueprint(tmp_path, alone=alone))
    assert {path: (await site.call("GET", path)).status for path in found} == found
    page = await site.call("GET", "/operator")
    assert page.body == b"<!doctype html> for operators"
    assert page.headers["content-security-policy"].startswith("default-src 'self';")


async def test_operators_have_their_page_where_their_calls_are(
    failing_api: Callable[[Exception], Api],
) -> None:
    api = failing_api(RuntimeError())
    assert (await api.call("GET", "/operator")).status == 200
    assert b"Admin key" in (await api.operator_api().call("GET", "/")).body
    config = api.parts.config.model_copy(update={"operator_listen": "127.0.0.1:0"})
    assert (await api.with_parts(config=config).call("GET", "/operator")).status == 404


def test_a_package_without_a_page_serves_none(tmp_path: Path) -> None:
    assert page_blueprint(tmp_path / "missing").name == "page"
