"""For operators: health, metrics, statistics, and closing a user's connections."""

from __future__ import annotations

from quart import Blueprint, Response

from notifyd.api import guard
from notifyd.api.bodies import answer
from notifyd.api.metrics import CONTENT_TYPE
from notifyd.api.parts import parts
from notifyd.api.problems import NotReady

bp = Blueprint("admin", __name__)


@bp.get("/livez")
async def alive() -> Response:
    """Answered as long as the event loop turns."""
    return answer({"status": "alive"})


@bp.get("/readyz")
async def ready() -> Response:
    """200 when the server can do its work, 503 with the reasons when it cannot."""
    reasons = parts().readiness()
    if reasons:
        raise NotReady("; ".join(reasons), reasons=list(reasons))
    return answer({"status": "ready"})


@bp.get("/metrics")
async def metrics() -> Response:
    """Prometheus' text format. Whoever can reach a bind made for operators may read it."""
    if parts().config.operator_listen is None:
        guard.operator()
    text = parts().metrics.render(parts().statistics())
    return Response(text, headers={"Cache-Control": "no-store"}, content_type=CONTENT_TYPE)


@bp.get("/v1/stats")
async def stats() -> Response:
    """What the server is doing now."""
    guard.operator()
    return answer(parts().statistics())


@bp.post("/v1/users/<user_id>/disconnect")
async def disconnect(user_id: str) -> Response:
    """Close every live connection of a user."""
    guard.operator()
    return answer({"closed": parts().close_user(user_id)})
