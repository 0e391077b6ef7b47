"""What the server says about itself: `/openapi.json`, `/schema/messages.json`, and a page that shows both."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response

from notifyd.api import streams
from notifyd.api.describe import ANYONE, Answer, describe, hide
from notifyd.api.message_schema import message_schema
from notifyd.api.openapi import build_document
from notifyd.api.page import File, make_file, read_files, serve
from notifyd.messages import encode_json

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Stricter than the page's: there are no pictures from elsewhere here.
_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
SCHEMA_TYPE = "application/schema+json"
_UNCHANGED = Answer("The same as the one with the ETag in If-None-Match")
#: How the two documents begin.
_OPENAPI = {"openapi": "3.1.0", "info": {"title": "notifyd", "version": "0.1.0"}, "paths": {}}
_SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:notifyd:messages:1"}


def docs_blueprint(blueprints: Sequence[Blueprint], *, streams_too: bool) -> Blueprint:
    """The routes; they describe `blueprints`, themselves, and the streams where this bind serves those.

    The documents are made when they are first asked for, and kept.
    """
    bp = Blueprint("docs", __name__)
    web = files("notifyd") / "web"
    contents = read_files(web / "docs")
    contents |= {name: file for name, file in read_files(web).items() if name == "icon.svg"}

    @cache
    def openapi() -> File:
        described = [*blueprints, bp, *([streams.bp] if streams_too else [])]
        return make_file(encode_json(build_document(described)), "application/json")

    @cache
    def messages() -> File:
        return make_file(encode_json(message_schema()), SCHEMA_TYPE)

    @bp.get("/openapi.json")
    @describe(
        "About", who=ANYONE, answers={200: Answer("OpenAPI 3.1", dict[str, Any], _OPENAPI), 304: _UNCHANGED}
    )
    async def read_openapi() -> Response:
        """This description of the HTTP API, as OpenAPI 3.1."""
        return serve(openapi(), _POLICY)

    @bp.get("/schema/messages.json")
    @describe(
        "About",
        who=ANYONE,
        answers={
            200: Answer("JSON Schema", dict[str, Any], _SCHEMA, content_type=SCHEMA_TYPE),
            304: _UNCHANGED,
        },
    )
    async def read_message_schema() -> Response:
        """The messages of the wire protocol, as JSON Schema 2020-12."""
        return serve(messages(), _POLICY)

    @bp.get("/docs")
    @hide
    async def page() -> Response:
        return serve(contents.get("index.html"), _POLICY)

    @bp.get("/docs/<name>")
    @hide
    async def asset(name: str) -> Response:
        return serve(contents.get(name), _POLICY)

    return bp
