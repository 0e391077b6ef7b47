"""For operators: health, metrics, statistics, and closing a user's connections."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer
from notifyd.api.describe import ANYONE, OPERATOR, Answer, describe
from notifyd.api.metrics import CONTENT_TYPE
from notifyd.api.parts import parts
from notifyd.api.problems import NotReady
from notifyd.api.profiles import check_user_id
from notifyd.errors import Unprocessable

bp = Blueprint("admin", __name__)


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(Struct, frozen=True):
    """The server can do its work."""

    status: Literal["ready"] = "ready"


class Closed(Struct, frozen=True):
    """What was closed."""

    closed: Annotated[int, Meta(ge=0, description="Connections")]


_METRICS = """\
# HELP notifyd_connections Live connections.
# TYPE notifyd_connections gauge
notifyd_connections{transport="websocket"} 12.0
notifyd_connections{transport="sse"} 3.0
"""
#: Some of them.
_STATISTICS = {
    "connections": {"total": 15, "websocket": 12, "sse": 3, "users": 9, "catching_up": 0, "queued_bytes": 0},
    "inbox": {"head": 4711, "queued": 0, "commits": 803, "publications": 4200},
    "jobs": {"dispatcher": {"name": "dispatcher", "restarts": 0, "seconds_down": 0.0}},
}


@bp.get("/livez")
@describe("Operating", who=ANYONE, answers={200: Answer("The event loop turns", Alive, {"status": "alive"})})
async def say_alive() -> Response:
    """Whether the process is alive."""
    return answer(Alive())


@bp.get("/readyz")
@describe(
    "Operating", who=ANYONE, answers={200: Answer("Ready", Ready, {"status": "ready"})}, errors=(NotReady,)
)
async def say_ready() -> Response:
    """Whether the server can do its work; when it cannot, a 503 gives the reasons."""
    reasons = parts().readiness()
    if reasons:
        raise NotReady("; ".join(reasons), reasons=list(reasons))
    return answer(Ready())


@bp.get("/metrics")
@describe(
    "Operating",
    who=OPERATOR,
    answers={200: Answer("Prometheus' text format", str, _METRICS, content_type=CONTENT_TYPE)},
)
async def read_metrics() -> Response:
    """Metrics for Prometheus.

    On a bind made for operators nobody is asked for a key.
    """
    if parts().config.operator_listen is None:
        guard.operator()
    text = parts().metrics.render()
    return Response(text, headers={"Cache-Control": "no-store"}, content_type=CONTENT_TYPE)


@bp.get("/v1/stats")
@describe(
    "Operating",
    who=OPERATOR,
    answers={200: Answer("Numbers by part of the server", dict[str, Any], _STATISTICS)},
)
async def read_statistics() -> Response:
    """What the server is doing now."""
    guard.operator()
    return answer(parts().statistics())


@bp.post("/v1/users/<path:user_id>/disconnect")
@describe(
    "Operating",
    who=OPERATOR,
    path={"user_id": "The user"},
    answers={200: Answer("How many were closed", Closed, {"closed": 2})},
    errors=(Unprocessable,),
)
async def disconnect_user(user_id: str) -> Response:
    """Close every live connection of a user.

    They may come back: this revokes no token.
    """
    guard.operator()
    check_user_id(user_id)
    return answer(Closed(parts().close_user(user_id)))
