"""The page and the JavaScript client, from the package itself."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from quart import Blueprint, Response, request

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

#: The page loads nothing from elsewhere but the pictures of deals, and nobody may frame it. `no-referrer`
#: keeps a token in its address from travelling on.
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: https:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class _File(NamedTuple):
    content: bytes
    content_type: str
    etag: str


def page_blueprint(folder: Traversable | None = None) -> Blueprint:
    """Routes for `/`, `/client.js` and `/assets/<name>`; the files are read once, here."""
    contents = _read(folder or files("notifyd") / "web")
    bp = Blueprint("page", __name__)

    @bp.get("/")
    async def index() -> Response:
        return _serve(contents, "index.html")

    @bp.get("/client.js")
    async def client() -> Response:
        return _serve(contents, "client.js")

    @bp.get("/assets/<name>")
    async def asset(name: str) -> Response:
        return _serve(contents, name)

    return bp


def _read(folder: Traversable) -> dict[str, _File]:
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        content_type = _CONTENT_TYPES.get(path.name.rpartition(".")[2])
        if content_type is not None and path.is_file():
            content = path.read_bytes()
            found[path.name] = _File(content, content_type, sha256(content).hexdigest()[:32])
    return found


def _serve(contents: dict[str, _File], name: str) -> Response:
    file = contents.get(name)
    if file is None:
        raise NotFound("There is nothing at this address")
    if request.if_none_match.contains_weak(file.etag):
        response = Response(b"", 304, headers=_HEADERS)
    else:
        response = Response(file.content, headers=_HEADERS, content_type=file.content_type)
    response.set_etag(file.etag)
    return response
