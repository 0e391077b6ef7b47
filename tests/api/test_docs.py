"""The descriptions and the page that shows them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from notifyd.api.message_schema import message_schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Api


@pytest.fixture
def bare_api(failing_api: Callable[[Exception], Api]) -> Api:
    return failing_api(RuntimeError())


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/openapi.json", "application/json"), ("/schema/messages.json", "application/schema+json")],
)
async def test_descriptions_are_for_anyone_and_sent_once(bare_api: Api, path: str, content_type: str) -> None:
    answer = await bare_api.call("GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, content_type)
    again = await bare_api.call("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


async def test_the_schema_of_messages_is_the_generated_one(bare_api: Api) -> None:
    assert (await bare_api.call("GET", "/schema/messages.json")).json == message_schema()


async def test_the_page_needs_nothing_from_elsewhere(bare_api: Api) -> None:
    page = await bare_api.call("GET", "/docs")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    found = {"/docs": page.body.decode()}
    for path in ("/docs/docs.js", "/docs/dom.js", "/docs/curl.js", "/docs/schema.js", "/docs/docs.css"):
        answer = await bare_api.call("GET", path)
        assert answer.status == 200, path
        assert "default-src 'self';" in answer.headers["content-security-policy"]
        assert "http" not in re.sub(r"\$\{[^}]*\}", "", answer.body.decode()).lower().replace("http api", "")
        found[path] = answer.body.decode()
    named = re.findall(r'(?:href|src)="(/[^"]*)"', found["/docs"])
    named += [f"/docs/{name}" for text in found.values() for name in re.findall(r'from "\./([^"]+)"', text)]
    for path in named:
        assert (await bare_api.call("GET", path)).status == 200, path


async def test_each_bind_describes_what_it_serves(bare_api: Api) -> None:
    both = (await bare_api.call("GET", "/openapi.json")).json["paths"]
    assert {"/ws", "/events", "/v1/notifications", "/v1/stats", "/openapi.json"} <= set(both)
    config = bare_api.parts.config.model_copy(update={"operator_listen": "127.0.0.1:1"})
    apart = bare_api.with_parts(config=config)
    public = (await apart.call("GET", "/openapi.json")).json["paths"]
    operators = (await apart.operator_api().call("GET", "/openapi.json")).json["paths"]
    assert "/v1/stats" not in public
    assert "/v1/stats" in operators
    assert "/ws" not in operators
    assert json.dumps(public[("/v1/tickets")]) == json.dumps(both["/v1/tickets"])
    assert (await apart.operator_api().call("GET", "/docs")).status == 200
