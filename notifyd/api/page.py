"""The page and the JavaScript client, from the package itself."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from quart import Blueprint, Response, request

from notifyd.api.describe import hide
from notifyd.errors import NotFound

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
}

#: The page loads nothing from elsewhere but the pictures of deals, and nobody may frame it.
_POLICY = (
    "default-src 'self'; img-src 'self' data: https:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
#: `no-referrer` keeps a token in the page's address from travelling on.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class File(NamedTuple):
    """What is sent, whole or as 304 to whoever has it."""

    content: bytes
    content_type: str
    etag: str


def page_blueprint(folder: Traversable | None = None) -> Blueprint:
    """Routes for `/`, `/client.js`, `/react.js` and `/assets/<name>`; the files are read once, here."""
    contents = read_files(folder or files("notifyd") / "web")
    bp = Blueprint("page", __name__)

    @bp.get("/")
    @hide
    async def index() -> Response:
        return serve(contents.get("index.html"))

    @bp.get("/client.js")
    @hide
    async def client() -> Response:
        return serve(contents.get("client.js"))

    @bp.get("/react.js")
    @hide
    async def react() -> Response:
        return serve(contents.get("react.js"))

    @bp.get("/assets/<name>")
    @hide
    async def asset(name: str) -> Response:
        return serve(contents.get(name))

    return bp


def read_files(folder: Traversable) -> dict[str, File]:
    """The files of a folder that a browser may have, by name; none where there is no such folder."""
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        content_type = _CONTENT_TYPES.get(path.name.rpartition(".")[2])
        if content_type is not None and path.is_file():
            found[path.name] = make_file(path.read_bytes(), content_type)
    return found


def make_file(content: bytes, content_type: str) -> File:
    """`content` with the ETag that follows from it."""
    return File(content, content_type, sha256(content).hexdigest()[:32])


def serve(file: File | None, policy: str = _POLICY) -> Response:
    """A file, or 304 to who has it already; `policy` is its Content-Security-Policy. None raises NotFound."""
    if file is None:
        raise NotFound("There is nothing at this address")
    headers = {**_HEADERS, "Content-Security-Policy": policy}
    if request.if_none_match.contains_weak(file.etag):
        response = Response(b"", 304, headers=headers)
    else:
        response = Response(file.content, headers=headers, content_type=file.content_type)
    response.set_etag(file.etag)
    return response
