"""Request bodies in, JSON answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
import trio
from quart import Response, request

from notifyd.api.problems import SlowBody, UnsupportedMediaType, invalid, problem
from notifyd.clock import Pace
from notifyd.errors import BadRequest, HttpError, TooLarge
from notifyd.messages import encode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
R = TypeVar("R")
Q = TypeVar("Q", bound=msgspec.Struct)

#: Bytes of a body where nothing else is said.
MAX_BODY = 64 * 1024
#: Bytes of a body that carries many notifications or prices.
MAX_BATCH_BODY = 4 * 1024 * 1024
#: Seconds in which a whole body must arrive.
BODY_SECONDS = 10.0


async def read_json(
    decoder: msgspec.json.Decoder[T], *, limit: int = MAX_BODY, empty: bytes | None = None
) -> T:
    """The body of the current request as `decoder` understands it.

    `limit` is in bytes; `empty` stands for a body that was left out. Raises UnsupportedMediaType, TooLarge,
    SlowBody, BadRequest for what is not JSON, Unprocessable with the `path` of what is not acceptable.
    """
    return decode(decoder, await read_body(limit=limit, empty=empty))


async def read_body(*, limit: int, empty: bytes | None = None) -> bytes:
    """The JSON text that the current request carries, at most `limit` bytes of it; raises as read_json."""
    if request.mimetype != "application/json":
        if empty is None or request.mimetype or request.content_length:
            raise UnsupportedMediaType("Send the body as Content-Type: application/json")
        return empty
    declared = request.content_length
    if declared is not None and declared > limit:
        raise too_large(limit)
    with trio.move_on_after(BODY_SECONDS):
        return await _collect(limit)
    raise SlowBody


async def _collect(limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.body:
        body += chunk
        if len(body) > limit:
            raise too_large(limit)
    return bytes(body)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"At most {limit} bytes are accepted here")


def decode(decoder: msgspec.json.Decoder[T], text: bytes | msgspec.Raw, root: str = "$") -> T:
    """`text` as `decoder` understands it; `root` is its place in the whole body. Raises as read_json."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as fault:
        raise invalid(fault, root) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise BadRequest(f"The body is not JSON that can be read: {fault}") from None


class Many(Generic[T]):
    """The rows of the member `name` of a body, each read, and then answered, alone and in its place."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._read: list[T | HttpError] = []

    @property
    def good(self) -> list[T]:
        """Those that were understood, in the order of the body."""
        return [each for each in self._read if not isinstance(each, HttpError)]

    async def read(self, rows: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw, str], T]) -> None:
        """Read each by `read`, which is given its place too and raises HttpError; in slices."""
        pace = Pace()
        for index, text in enumerate(rows):
            await pace.breathe()
            try:
                self._read.append(read(text, self._place(index)))
            except HttpError as fault:
                self._read.append(fault)

    async def answer(
        self, outcome: Callable[[T], R | HttpError], told: Callable[[T, R], dict[str, Any]]
    ) -> Response:
        """A result for each in the order of the body: what `told` makes of its outcome, or a problem."""
        pace = Pace()
        results = []
        for index, row in enumerate(self._read):
            await pace.breathe()
            if isinstance(row, HttpError):
                results.append(problem(row, self._place(index)))
                continue
            got = outcome(row)
            results.append(problem(got, self._place(index)) if isinstance(got, HttpError) else told(row, got))
        return answer({"results": results})

    def _place(self, index: int) -> str:
        return f"$.{self._name}[{index}]"


def read_query(model: type[Q]) -> Q:
    """The query of the current request as `model`; names it does not know are left alone.

    Raises Unprocessable with the `path` of what is not acceptable.
    """
    given = request.args.to_dict()
    try:
        query = msgspec.convert(given, model, strict=False)
    except msgspec.ValidationError as fault:
        raise invalid(fault) from None
    for field in msgspec.structs.fields(model):
        # A query cannot say null, which msgspec takes this for: it may well be what somebody is called.
        if given.get(field.encode_name, "").lower() == "null":
            query = msgspec.structs.replace(query, **{field.name: _not_null(field, given[field.encode_name])})
    return query


def _not_null(field: msgspec.structs.FieldInfo, text: str) -> Any:
    try:
        return msgspec.convert(text, field.type)
    except msgspec.ValidationError as fault:
        raise invalid(fault, f"$.{field.encode_name}") from None


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON; answers of the API concern one caller, so nobody may keep them."""
    return Response(
        encode_json(content),
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        content_type="application/json",
    )


def no_content() -> Response:
    """204: done, nothing to say."""
    return Response(b"", 204)
