"""Health, metrics, statistics, disconnecting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifyd.api.metrics import Metrics

if TYPE_CHECKING:
    from .conftest import Api


async def test_health_needs_no_key(api: Api) -> None:
    alive, ready = await api.call("GET", "/livez"), await api.call("GET", "/readyz")
    assert (alive.status, alive.json) == (200, {"status": "alive"})
    assert (ready.status, ready.json) == (200, {"status": "ready"})


async def test_not_ready_says_why(api: Api) -> None:
    api.server.reasons = ["draining", "checker is down"]
    answer = await api.call("GET", "/readyz")
    assert answer.status == 503
    assert answer.problem == {
        "type": "not-ready",
        "detail": "draining; checker is down",
        "reasons": ["draining", "checker is down"],
    }
    assert answer.headers["retry-after"] == "1"
    assert (await api.call("GET", "/livez")).status == 200


async def test_stats_are_the_servers(api: Api) -> None:
    answer = await api.call("GET", "/v1/stats", as_="adm")
    assert answer.status == 200
    assert answer.json == {"connections": {"websocket": 2, "sse": 1}, "ready": True, "version": "x"}


async def test_an_admin_scope_is_enough(api: Api) -> None:
    assert (await api.call("GET", "/v1/stats", as_=api.token(scopes=["admin"]))).status == 200


async def test_metrics_are_prometheus_text(api: Api) -> None:
    await api.call("GET", "/v1/notifications", as_=api.token())
    await api.call("GET", "/v1/notifications", as_=api.token())
    await api.call("DELETE", "/v1/notifications/some-id", as_="pub")
    await api.call("INVENTED", "/invented/path")
    answer = await api.call("GET", "/metrics", as_="adm")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = set(answer.body.decode().splitlines())
    prefix = "notifyd_http_requests_total"
    assert {
        f'{prefix}{{method="GET",route="/v1/notifications",status="200"}} 2.0',
        f'{prefix}{{method="DELETE",route="/v1/notifications/<notification_id>",status="404"}} 1.0',
        f'{prefix}{{method="other",route="none",status="404"}} 1.0',
    } <= lines
    assert "some-id" not in answer.body.decode()


def test_every_server_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.answered("GET", "/", 200)
    assert b'route="/"' in first.render()
    assert b'route="/"' not in second.render()


async def test_disconnect_closes_a_users_connections(api: Api) -> None:
    api.server.live = {"ann": 3}
    answer = await api.call("POST", "/v1/users/ann/disconnect", as_="adm")
    assert (answer.status, answer.json) == (200, {"closed": 3})
    assert api.server.closed == ["ann"]


async def test_a_user_whose_id_has_slashes_is_disconnected_too(api: Api) -> None:
    for path in ("a/b", "a%2Fb", "a/disconnect"):
        await api.call("POST", f"/v1/users/{path}/disconnect", as_="adm")
    assert api.server.closed == ["a/b", "a/b", "a/disconnect"]
    # Such an id can be told apart from the call.
    assert (await api.call("PUT", "/v1/users/a/disconnect", as_="pub", body={})).json["user_id"] == (
        "a/disconnect"
    )


async def test_nobody_has_a_name_that_long(api: Api) -> None:
    answer = await api.call("POST", f"/v1/users/{'a' * 129}/disconnect", as_="adm")
    assert (answer.status, api.server.closed) == (422, [])
