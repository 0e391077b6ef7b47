"""The Quart-Trio apps: one for everybody and, when operators have a bind of their own, one for them."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from quart import Response, request
from quart_trio import QuartTrio

from notifyd.api import (
    admin,
    cors,
    inspection,
    items,
    notifications,
    outbox,
    preferences,
    prices,
    problems,
    publish,
    revocations,
    session,
    streams,
    tickets,
    trace,
    users,
)
from notifyd.api.bodies import BODY_SECONDS, MAX_BATCH_BODY
from notifyd.api.docs import docs_blueprint
from notifyd.api.insight import insight_blueprint
from notifyd.api.page import operator_page_blueprint, page_blueprint
from notifyd.api.parts import EXTENSION, ApiParts
from notifyd.api.watch_bulk import bulk_blueprint
from notifyd.api.watches import watches_blueprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart import Blueprint

__all__ = ["ApiParts", "create_app", "create_operator_app"]

#: Seconds in which an answer must have left; no answer of the API is a stream.
RESPONSE_SECONDS = 60
_OPERATORS = (admin.bp, inspection.bp, outbox.bp, revocations.bp, trace.bp)


def create_app(parts: ApiParts, blueprints: Sequence[Blueprint] = ()) -> QuartTrio:
    """The app of the main bind; `blueprints` are added to its own.

    Operators' calls are on it only when they have no bind of their own (`operator_listen`).
    """
    own = [
        publish.bp,
        notifications.bp,
        tickets.bp,
        session.bp,
        prices.bp,
        items.bp,
        users.bp,
        preferences.bp,
        outbox.hooks_bp,
        page_blueprint(),
    ]
    own.append(bulk_blueprint(parts.set_watches))
    own += [watches_blueprint(parts.set_watch), insight_blueprint(parts.explain_watch, parts.backtest)]
    if parts.config.operator_listen is None:
        own += [*_OPERATORS, operator_page_blueprint()]
    # The door serves the streams; what it leaves to their routes are other methods, as a page's preflight.
    return _app(parts, [*own, docs_blueprint(own, streams_too=True), streams.bp, *blueprints])


def create_operator_app(parts: ApiParts) -> QuartTrio:
    """The app of the operators' bind: their page, health, metrics and admin calls."""
    own = [*_OPERATORS, operator_page_blueprint(alone=True)]
    return _app(parts, [*own, docs_blueprint(own, streams_too=False)])


class _App(QuartTrio):
    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        # That a client left is no error; raised out of here it would be logged as one, each time.
        try:
            await super().asgi_app(scope, receive, send)
        except* problems.disconnected_error():
            pass


@cache
def _described(rule: str) -> str:
    """A route as the OpenAPI document spells it."""
    return re.sub(r"<(?:[a-z]+:)?([a-z_]+)>", r"{\1}", rule)


def _app(parts: ApiParts, blueprints: Sequence[Blueprint]) -> QuartTrio:
    app = _App("notifyd", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BATCH_BODY,
        BODY_TIMEOUT=BODY_SECONDS,
        RESPONSE_TIMEOUT=RESPONSE_SECONDS,
    )
    # A redirect for `//v1/stats` would be an answer that is no problem document.
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = parts
    problems.install(app)
    cors.install(app, parts.config.allowed_origins)
    for blueprint in blueprints:
        app.register_blueprint(blueprint)

    @app.after_request
    async def count(response: Response) -> Response:
        route = _described(request.url_rule.rule) if request.url_rule is not None else "none"
        parts.metrics.answered(request.method, route, response.status_code)
        return response

    return app
