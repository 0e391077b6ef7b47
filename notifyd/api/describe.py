"""What a route says about itself: `describe` stands beside the route, and `/openapi.json` is made of it.

    @bp.put("/v1/watches/<watch_id>")
    @describe(
        "Watches",
        who=USER_OR_PUBLISHER,
        path={"watch_id": "The caller chooses it"},
        query=_Query,
        body=WatchSpec,
        examples={"A target": {"item_id": "oj-64", "rule": {…}}},
        answers={200: Answer("Changed", WatchSet), 201: Answer("New", WatchSet)},
        errors=WRITES,
    )
    async def put_watch(watch_id: str) -> Response:
        \"\"\"Set a watch.

        The first line becomes the summary, the rest the description (backticks mark code).
        \"\"\"

`describe` only documents: it returns the very function it was given, wraps nothing and checks nothing, so
it costs no request anything. The models are msgspec Structs; fields are explained by `Meta(description=…)`.
An answer's model is the Struct that the route gives to `answer(…)` or, where that is built otherwise, one
that says the same. The function's name is the operation's id, so it says verb and thing.

What every call may answer (400, 431, 500, 503), and what follows from `who` (401, 403), `path` (404), `body`
(408, 413, 415, 422) and `query` (422), is added here; `errors` names the rest by its exceptions. A route that
is no call of the API, like a page's file, is marked with `@hide`. A test fails for a route that is neither
described nor hidden, and another one calls every described route and compares its answers with what is said
here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from quart_schema import hide, operation_id, security_scheme, tag

from notifyd.api.models import COMPONENTS, public_name
from notifyd.api.problems import SlowBody, UnsupportedMediaType
from notifyd.errors import (
    BadRequest,
    CommitFailed,
    DiskFull,
    Forbidden,
    HeadTooLong,
    HttpError,
    NotFound,
    OutcomeUnknown,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unprocessable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from msgspec import Struct

__all__ = ["ANYONE", "OPERATOR", "PUBLISHER", "USER", "USER_OR_PUBLISHER", "WRITES"]
__all__ += ["Answer", "Description", "Header", "Tag", "describe", "description_of", "hide"]

Tag = Literal[
    "Publishing", "Notifications", "Streams", "Tickets", "Watches", "Prices", "Users", "Operating", "About"
]
#: Names of security schemes; `notifyd.api.openapi` explains them. Any one of them is enough.
Who = tuple[str, ...]

ANYONE: Who = ()
USER: Who = ("userToken", "accessTokenCookie", "ticket", "queryToken")
PUBLISHER: Who = ("publishKey",)
OPERATOR: Who = ("adminKey",)
USER_OR_PUBLISHER: Who = (*USER, *PUBLISHER)

Errors = tuple[type[HttpError], ...]

#: What any call may answer.
ALWAYS: Errors = (BadRequest, HeadTooLong, HttpError, Unavailable)
#: What a call that changes the database may answer besides.
WRITES: Errors = (OutcomeUnknown, DiskFull, CommitFailed)
_OF_BODIES: Errors = (SlowBody, TooLarge, UnsupportedMediaType, Unprocessable)

F = TypeVar("F", bound="Callable[..., Any]")
_ATTRIBUTE = "_notifyd_description"


@dataclass(frozen=True)
class Header:
    """A header field that a request may carry or an answer carries."""

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: Any = None


@dataclass(frozen=True)
class Answer:
    """One answer that is no error. Without a `model` it has no body.

    `others` are examples of the same as text of other content types.
    """

    text: str
    model: Any = None
    example: Any = None
    content_type: str = "application/json"
    others: Mapping[str, str] = field(default_factory=dict)
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Description:
    """All that `/openapi.json` says about one call besides its path, method, and docstring."""

    who: Who
    answers: Mapping[int, Answer]
    path: Mapping[str, str] = field(default_factory=dict)
    query: Any = None
    lenient: bool = False
    headers: tuple[Header, ...] = ()
    body: Any = None
    body_required: bool = True
    examples: Mapping[str, Any] = field(default_factory=dict)
    models: tuple[Any, ...] = ()
    errors: Errors = ()

    @property
    def all_errors(self) -> Errors:
        """`errors` and what follows from the other fields, each once."""
        found = [*ALWAYS, *self.errors]
        if self.who:
            found += [Unauthorized, Forbidden]
        if self.body is not None:
            found += _OF_BODIES
        if self.query is not None and not self.lenient:
            found.append(Unprocessable)
        return tuple(dict.fromkeys(found))


def describe(
    tag_: Tag,
    *,
    who: Who,
    answers: Mapping[int, Answer],
    path: Mapping[str, str] | None = None,
    query: Any = None,
    lenient: bool = False,
    headers: tuple[Header, ...] = (),
    body: Any = None,
    body_required: bool = True,
    examples: Mapping[str, Any] | None = None,
    models: tuple[Any, ...] = (),
    errors: Errors = (),
) -> Callable[[F], F]:
    """Document a route; `path` explains its variables, `examples` are bodies by what they show.

    `query` is a Struct whose fields are the parameters; `lenient` says that none of their values is refused.
    `body` is a type, or a tuple of those it may be; `models` are Structs that others name by `ref` only.
    """
    description = Description(
        who=who,
        answers=answers,
        path=path or {},
        query=query,
        lenient=lenient,
        headers=headers,
        body=body,
        body_required=body_required,
        examples=examples or {},
        models=models,
        errors=(*errors, NotFound) if path else errors,
    )

    def decorate(function: F) -> F:
        setattr(function, _ATTRIBUTE, description)
        operation_id(_camel(function.__name__))(function)
        security_scheme([{name: []} for name in who])(function)
        return tag([tag_])(function)

    return decorate


def description_of(function: Callable[..., Any]) -> Description | None:
    """What `describe` said about a route, None where it did not."""
    return cast("Description | None", getattr(function, _ATTRIBUTE, None))


def ref(model: type[Struct]) -> dict[str, str]:
    """A reference to `model`, for `Meta(extra_json_schema=…)` where msgspec has no type that says it."""
    return {"$ref": COMPONENTS + public_name(model.__name__)}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.title() for word in others)
