"""Every caller at every address with every verb, from the API's own list of them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Api

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: What a caller is, in the words of the OpenAPI document's security schemes.
KINDS: dict[str, set[str]] = {
    "nobody": set(),
    "forged token": set(),
    "user": {"user"},
    "user with the scope to publish": {"user", "publisher"},
    "user with the scope to operate": {"user", "admin"},
    "publish key": {"publisher"},
    "admin key": {"admin"},
}
#: The document's security schemes; a user has several ways to show a token.
SCHEMES = {"userToken": "user", "publishKey": "publisher", "adminKey": "admin"}
#: This call may carry the token in its body, and so reads that first.
BODIES = {"/v1/auth": {"connection_id": "x"}}
#: Streams have a lane of their own; tests/transport/lane is about who gets one.
STREAMS = {"/ws", "/events"}


def credential(api: Api, caller: str) -> str | None:
    made: dict[str, str | None] = {
        "nobody": None,
        "forged token": api.token()[:-2] + "xx",
        "user": api.token("ann"),
        "user with the scope to publish": api.token("ann", scopes=["notifications:write"]),
        "user with the scope to operate": api.token("ann", scopes=["admin"]),
        "publish key": "pub",
        "admin key": "adm",
    }
    return made[caller]


Operation = tuple[str, str, set[str]]


def operations(document: Any) -> list[Operation]:
    """Each path and verb, and who may; the empty set for anybody."""
    found = []
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            named = {name for one in operation.get("security", []) for name in one}
            kinds = {SCHEMES[name] for name in named & SCHEMES.keys()}
            if path not in STREAMS:
                found.append((path, verb.upper(), kinds))
    return found


def address(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "x1", path)


def _pattern(template: str) -> str:
    """Users may be called anything, with slashes too."""
    return re.sub(r"\{[a-z_]+\}", "[^/]+", template.replace("{user_id}", ".+").replace("{watch_id}", ".+"))


def meant(known: list[Operation], verb: str, path: str) -> set[str] | None:
    """Who may; None when no operation is meant. A path of its own comes before one with a name in it."""
    fitting = [
        (needed, template)
        for template, its_verb, needed in known
        if its_verb == verb and re.fullmatch(_pattern(template), address(path))
    ]
    return min(fitting, key=lambda each: each[1] != path)[0] if fitting else None


@pytest.mark.parametrize("caller", KINDS)
async def test_who_may_and_who_may_not(api: Api, caller: str) -> None:
    known = operations((await api.call("GET", "/openapi.json")).json)
    seen = 0
    for path in dict.fromkeys(path for path, _, _ in known):
        for verb in VERBS:
            body = None if verb in ("GET", "DELETE") else BODIES.get(path, {})
            answer = await api.call(verb, address(path), as_=credential(api, caller), body=body)
            place = (caller, verb, path, answer)
            seen += 1
            needed = meant(known, verb, path)
            if needed is None:
                assert answer.status == 405, place
            elif not needed or needed & KINDS[caller]:
                assert answer.status not in (401, 500), place
            else:
                assert answer.status == (403 if KINDS[caller] else 401), place
    assert seen > 100


def furnished() -> list[tuple[str, str, object]]:
    """Calls of a user that name something by its id; `ben` has made it."""
    return [
        ("GET", "/v1/watches/ben-watch", None),
        ("DELETE", "/v1/watches/ben-watch", None),
        ("GET", "/v1/watches/ben-watch/explain", None),
        ("POST", "/v1/notifications/mark", {"state": "archived", "notification_ids": ["{notification}"]}),
    ]


async def test_one_users_ids_are_anothers_404(api: Api) -> None:
    published = await api.publish("ben", message="canary of ben")
    watch = {"item_id": "i-1", "rule": {"type": "target_price", "price_in_cents": 100}}
    made = await api.call("PUT", "/v1/watches/ben-watch", as_=api.token("ben"), body=watch)
    assert made.status == 201
    for verb, path, body in furnished():
        text = json.dumps(body).replace("{notification}", published["notification_id"])
        mine = await api.call(verb, path, as_=api.token("ann"), body=json.loads(text) if body else None)
        nothing = await api.call(
            verb,
            path.replace("ben-watch", "no-watch"),
            as_=api.token("ann"),
            body=json.loads(text.replace(published["notification_id"], "no-such-id")) if body else None,
        )
        assert mine.status == nothing.status, (verb, path, mine, nothing)
        assert mine.status == 404 or body is not None, (verb, path, mine)
        told = mine.body.replace(b"ben-watch", b"no-watch")
        assert told.replace(published["notification_id"].encode(), b"no-such-id") == nothing.body
        assert b"canary" not in mine.body
    bens = (await api.call("GET", "/v1/notifications", as_=api.token("ben"))).json
    assert [each["state"] for each in bens["notifications"]] == ["unread"]
    assert (await api.call("GET", "/v1/watches/ben-watch", as_=api.token("ben"))).status == 200


async def test_what_operators_call_is_not_on_the_main_bind_when_they_have_their_own(api: Api) -> None:
    theirs = api.with_parts(config=api.parts.config.model_copy(update={"operator_listen": "127.0.0.1:1"}))
    for path, verb, needed in operations((await api.call("GET", "/openapi.json")).json):
        if needed == {"admin"}:
            answer = await theirs.call(verb, address(path), as_="adm", body={})
            assert answer.status in (404, 405), (verb, path, answer)
