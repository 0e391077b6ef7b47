"""The users' page, the operators' page and the JavaScript client, from the package itself."""

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


_WEB = files("notifyd") / "web"


class File(NamedTuple):
    """What is sent, whole or as 304 to whoever has it."""

    content: bytes
    content_type: str
    etag: str


def page_blueprint(folder: Traversable | None = None) -> Blueprint:
    """Routes for the users' page: `/`, `/client.js`, `/react.js` and `/assets/<name>`."""
    bp = Blueprint("page", __name__)
    contents = _add_files(bp, folder)

    @bp.get("/")
    @hide
    async def index() -> Response:
        return serve(contents.get("index.html"))

    return bp


def operator_page_blueprint(folder: Traversable | None = None, *, alone: bool = False) -> Blueprint:
    """Routes for the operators' page: `/operator` and, `alone` on a bind of theirs, `/` and the files."""
    bp = Blueprint("operator_page", __name__)
    contents = _add_files(bp, folder) if alone else read_files(folder or _WEB)

    @bp.get("/operator")
    @hide
    async def operator() -> Response:
        return serve(contents.get("operator.html"))

    if alone:
        bp.add_url_rule("/", view_func=operator)
    return bp


def _add_files(bp: Blueprint, folder: Traversable | None) -> dict[str, File]:
    """Serve what pages need; the files are read once, here."""
    contents = read_files(folder or _WEB)

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

    return contents


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
