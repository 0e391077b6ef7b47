"""Tickets and the refresh of a live connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from notifyd.auth import Identity, RequestFacts
from notifyd.errors import Unauthorized

if TYPE_CHECKING:
    from .conftest import Api

PATH = "/v1/tickets"


def opened_by(api: Api, ticket: str) -> Identity:
    return api.parts.keys.authenticate(RequestFacts(ticket=ticket, is_websocket=True), api.server.now_ms)


async def test_a_users_ticket_is_the_user(api: Api) -> None:
    answer = await api.call("POST", PATH, as_=api.token("ann", scopes=["admin"]), body={})
    assert answer.status == 201
    assert {name: value for name, value in answer.json.items() if name != "ticket"} == {
        "expires_in_s": 30,
        "user_id": "ann",
        "token_expires_at": "2026-05-28T21:26:40.000Z",
    }
    identity = opened_by(api, answer.json["ticket"])
    assert identity == Identity("ann", api.server.now_ms + 3_600_000, issued_ms=api.server.now_ms)


async def test_a_user_needs_no_body(api: Api) -> None:
    answer = await api.call("POST", PATH, as_=api.token())
    assert (answer.status, answer.json["user_id"]) == (201, "ann")


async def test_a_ticket_may_be_shorter_than_its_owners_token_but_not_longer(api: Api) -> None:
    for wanted, expected in [(60, "2026-05-28T20:27:40.000Z"), (7200, "2026-05-28T21:26:40.000Z")]:
        answer = await api.call("POST", PATH, as_=api.token(), body={"expires_in_s": wanted})
        assert answer.json["token_expires_at"] == expected


async def test_a_publisher_names_the_user(api: Api) -> None:
    answer = await api.call("POST", PATH, as_="pub", body={"user_id": "bob", "expires_in_s": 7200})
    assert (answer.status, answer.json["token_expires_at"]) == (201, "2026-05-28T22:26:40.000Z")
    assert opened_by(api, answer.json["ticket"]).user_id == "bob"
    answer = await api.call("POST", PATH, as_="pub", body={"user_id": "bob"})
    assert answer.json["token_expires_at"] == "2026-05-28T21:26:40.000Z"


async def test_a_user_with_the_publishers_scope_may_do_both(api: Api) -> None:
    token = api.token("ann", scopes=["notifications:write"])
    assert (await api.call("POST", PATH, as_=token)).json["user_id"] == "ann"
    assert (await api.call("POST", PATH, as_=token, body={"user_id": "bob"})).json["user_id"] == "bob"


async def test_a_user_does_not_name_another(api: Api) -> None:
    answer = await api.call("POST", PATH, as_=api.token("ann"), body={"user_id": "bob"})
    assert answer.status == 403
    assert answer.problem["detail"] == "Only a publisher may ask for another user's ticket"


async def test_a_publisher_must_name_a_user(api: Api) -> None:
    answer = await api.call("POST", PATH, as_="pub", body={})
    assert answer.status == 403
    assert answer.problem["detail"] == "A publisher must say whose, by `user_id`"


@pytest.mark.parametrize(
    ("body", "detail", "path"),
    [
        ({"user_id": "a\nb"}, "Expected printable characters", "$.user_id"),
        ({"user_id": 5}, "Expected `str | null`, got `int`", "$.user_id"),
        ({"user_id": "bob", "expires_in_s": 86_401}, "Expected `float` <= 86400.0", "$.expires_in_s"),
        ({"user_id": "bob", "x": 1}, "Object contains unknown field `x`", "$"),
    ],
)
async def test_a_body_that_is_not_acceptable(api: Api, body: object, detail: str, path: str) -> None:
    answer = await api.call("POST", PATH, as_="pub", body=body)
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


async def test_a_ticket_pays_for_one_request(api: Api) -> None:
    ticket = (await api.call("POST", PATH, as_=api.token())).json["ticket"]
    assert (await api.call("GET", f"/v1/notifications?ticket={ticket}")).status == 200
    again = await api.call("GET", f"/v1/notifications?ticket={ticket}")
    assert (again.status, again.problem["detail"]) == (401, "The token is not valid")


async def test_a_ticket_of_an_expired_token_is_not_made(api: Api) -> None:
    token = api.token(ttl_s=1)
    api.server.now_ms += 1000
    assert (await api.call("POST", PATH, as_=token)).status == 401
    with pytest.raises(Unauthorized):
        opened_by(api, "")


# --- POST /v1/auth --------------------------------------------------------------------------------------

AUTH = "/v1/auth"


async def test_a_fresh_token_in_the_body_is_enough(api: Api) -> None:
    api.server.known_connections = {"c-1"}
    answer = await api.call("POST", AUTH, body={"connection_id": "c-1", "token": api.token("ann", ttl_s=60)})
    assert (answer.status, answer.json) == (200, {"token_expires_at": "2026-05-28T20:27:40.000Z"})
    ((connection_id, identity),) = api.server.refreshed
    assert (connection_id, identity.user_id) == ("c-1", "ann")


async def test_the_callers_own_token_does_too(api: Api) -> None:
    api.server.known_connections = {"c-1"}
    answer = await api.call("POST", AUTH, as_=api.token("bob"), body={"connection_id": "c-1"})
    assert answer.status == 200
    assert api.server.refreshed[0][1].user_id == "bob"


async def test_a_connection_that_is_not_there(api: Api) -> None:
    answer = await api.call("POST", AUTH, as_=api.token(), body={"connection_id": "c-2"})
    assert answer.status == 404
    assert answer.problem == {"type": "not-found", "detail": "This user has no such live connection"}


async def test_a_bad_token_refreshes_nothing(api: Api) -> None:
    api.server.known_connections = {"c-1"}
    for body, as_ in [
        ({"connection_id": "c-1", "token": "garbage"}, api.token()),
        ({"connection_id": "c-1"}, "garbage"),
        ({"connection_id": "c-1"}, None),
    ]:
        assert (await api.call("POST", AUTH, as_=as_, body=body)).status == 401
    assert api.server.refreshed == []
