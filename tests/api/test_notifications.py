"""A user's inbox over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Answer, Api

PATH = "/v1/notifications"


async def get(api: Api, query: str = "", user_id: str = "ann") -> Any:
    answer = await api.call("GET", f"{PATH}?{query}", as_=api.token(user_id))
    assert answer.status == 200, answer
    return answer.json


async def post(api: Api, path: str, body: object, user_id: str = "ann") -> Answer:
    return await api.call("POST", f"{PATH}/{path}", as_=api.token(user_id), body=body)


def texts(listing: Any) -> list[str]:
    return [message["data"]["message"] for message in listing["notifications"]]


async def test_an_empty_inbox(api: Api) -> None:
    listing = await get(api)
    assert listing["notifications"] == []
    assert listing["unread"] == 0
    assert listing["cursor"].endswith("-0")


async def test_messages_are_those_of_the_wire_with_their_state(api: Api) -> None:
    published = await api.publish(message="hello")
    listing = await get(api)
    assert listing["notifications"] == [
        {
            "type": "system-message",
            "data": {
                "notification_id": published["notification_id"],
                "message": "hello",
                "severity": "info",
                "critical": False,
            },
            "timestamp": "2026-05-28T20:26:40.000Z",
            "id": published["id"],
            "state": "unread",
        }
    ]
    assert (listing["unread"], listing["cursor"]) == (1, published["id"])


async def test_pages_forward_and_backward(api: Api) -> None:
    ids = [(await api.publish(message=str(n)))["id"] for n in range(5)]
    assert texts(await get(api)) == ["4", "3", "2", "1", "0"]
    assert texts(await get(api, "limit=2")) == ["4", "3"]
    assert texts(await get(api, f"limit=2&before={ids[3]}")) == ["2", "1"]
    forward = await get(api, f"limit=2&since={ids[0]}")
    assert (texts(forward), forward["recovered"]) == (["1", "2"], True)
    assert texts(await get(api, f"since={forward['cursor']}")) == ["3", "4"]


async def test_a_cursor_of_another_log_is_not_recovered(api: Api) -> None:
    await api.publish()
    listing = await get(api, "since=other-1")
    assert (listing["recovered"], listing["reason"]) == (False, "other-epoch")


async def test_an_empty_cursor_is_none_as_on_a_stream(api: Api) -> None:
    ids = [(await api.publish(message=text))["id"] for text in "ab"]
    for query in ("since=", "before=", "since=&before="):
        listing = await get(api, query)
        assert (listing["recovered"], texts(listing)) == (True, ["b", "a"])
    assert texts(await get(api, f"since={ids[0]}&before=")) == ["b"]


@pytest.mark.parametrize("cursor", ["x" * 65, "e-01", "%00"])
async def test_what_cannot_be_a_cursor_is_malformed_as_on_a_stream(api: Api, cursor: str) -> None:
    await api.publish(message="a")
    for query in ("since", "before"):
        listing = await get(api, f"{query}={cursor}")
        assert (listing["recovered"], listing["reason"], texts(listing)) == (False, "malformed", ["a"])


async def test_by_state(api: Api) -> None:
    first = await api.publish(message="a")
    await api.publish(message="b")
    assert (
        await post(api, "mark", {"state": "read", "notification_ids": [first["notification_id"]]})
    ).status == 204
    assert texts(await get(api, "state=read")) == ["a"]
    assert texts(await get(api, "state=unread")) == ["b"]
    assert (await get(api))["unread"] == 1


@pytest.mark.parametrize(
    ("query", "detail", "path"),
    [
        ("limit=0", "Expected `int` >= 1", "$.limit"),
        ("limit=501", "Expected `int` <= 500", "$.limit"),
        ("limit=many", "Expected `int`, got `str`", "$.limit"),
        ("state=lost", "Invalid enum value 'lost'", "$.state"),
        ("state=null", "Invalid enum value 'null'", "$.state"),
        ("since=e-1&before=e-2", "Page forward with since or backward with before, not both", "$.before"),
    ],
)
async def test_a_query_that_is_not_acceptable(api: Api, query: str, detail: str, path: str) -> None:
    answer = await api.call("GET", f"{PATH}?{query}", as_=api.token())
    assert answer.status == 422
    assert answer.problem == {"type": "unprocessable", "detail": detail, "path": path}


async def test_names_that_a_query_does_not_know_are_left_alone(api: Api) -> None:
    assert (await get(api, "_=123"))["notifications"] == []


async def test_mark_up_to_a_cursor(api: Api) -> None:
    await api.publish(message="a")
    second = await api.publish(message="b")
    await api.publish(message="c")
    answer = await post(api, "mark", {"state": "seen", "up_to": second["id"]})
    assert (answer.status, answer.body) == (204, b"")
    assert [message["state"] for message in (await get(api))["notifications"]] == ["unread", "seen", "seen"]


async def test_a_mark_is_one_users_own(api: Api) -> None:
    published = await api.publish("bob")
    answer = await post(api, "mark", {"state": "read", "notification_ids": [published["notification_id"]]})
    assert answer.status == 404
    assert answer.problem["type"] == "not-found"
    assert [m["state"] for m in (await get(api, user_id="bob"))["notifications"]] == ["unread"]


@pytest.mark.parametrize("up_to", ["", "nonsense", "other-1", "{epoch}-1"])
@pytest.mark.parametrize(("path", "fields"), [("mark", {"state": "read"}), ("ack", {})])
async def test_up_to_must_be_a_cursor_of_this_log(
    api: Api, path: str, fields: dict[str, str], up_to: str
) -> None:
    cursor = up_to.replace("{epoch}", api.parts.inbox.epoch)
    answer = await post(api, path, fields | {"up_to": cursor})
    assert answer.status == 422
    assert answer.problem == {
        "type": "unprocessable",
        "detail": "This is not a cursor of this server's log",
        "path": "$.up_to",
    }


async def test_ack_is_accepted(api: Api) -> None:
    published = await api.publish()
    answer = await post(api, "ack", {"up_to": published["id"], "connection_id": "c-1"})
    assert (answer.status, answer.body) == (204, b"")


async def test_a_withdrawn_one_is_gone(api: Api) -> None:
    published = await api.publish()
    path = f"{PATH}/{published['notification_id']}"
    assert (await api.call("DELETE", path, as_="pub")).status == 204
    assert texts(await get(api)) == []


async def test_withdrawing_what_is_not_there(api: Api) -> None:
    answer = await api.call("DELETE", f"{PATH}/nothing", as_="pub")
    assert answer.status == 404
    assert answer.problem["type"] == "not-found"


async def test_only_a_publisher_withdraws(api: Api) -> None:
    published = await api.publish()
    path = f"{PATH}/{published['notification_id']}"
    assert [(await api.call("DELETE", path, as_=as_)).status for as_ in (None, api.token(), "adm")] == [
        401,
        403,
        403,
    ]
    assert texts(await get(api)) == ["hello"]
