"""Revoking over HTTP: who may, and what is understood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Api

URL = "/v1/revocations"


async def test_one_token_by_issuer_and_id(api: Api) -> None:
    body = {"issuer": "https://id.example", "token_id": "t1", "expires_at": "2027-01-01T00:00:00Z"}
    answer = await api.call("POST", URL, as_="adm", body=body)
    assert (answer.status, answer.json) == (200, {"closed": 1})
    assert api.server.revoked == [("https://id.example", "t1", 1_798_761_600_000)]


async def test_a_token_without_an_issuer_is_refused_for_ever(api: Api) -> None:
    await api.call("POST", URL, as_="adm", body={"token_id": "t1"})
    assert api.server.revoked == [("", "t1", None)]


async def test_a_user_until_now_or_until_a_moment(api: Api) -> None:
    assert (await api.call("POST", URL, as_="adm", body={"user_id": "ann"})).json == {"closed": 2}
    await api.call("POST", URL, as_="adm", body={"user_id": "ann", "not_before": "2026-01-01T01:00:00+01:00"})
    assert api.server.revoked == [("ann", api.server.now_ms), ("ann", 1_767_225_600_000)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token_id": "t", "user_id": "ann"},
        {"issuer": "i"},
        {"token_id": ""},
        {"token_id": "t" * 513},
        {"user_id": ""},
        {"user_id": "a\u0000b"},
        {"user_id": "ann", "issuer": "i"},
        {"user_id": "ann", "expires_at": "2027-01-01T00:00:00Z"},
        {"token_id": "t", "not_before": "2027-01-01T00:00:00Z"},
        {"token_id": "t", "expires_at": "2027-01-01T00:00:00"},
        {"token_id": "t", "expires_at": "tomorrow"},
        {"token_id": "t", "jti": "t"},
    ],
)
async def test_anything_else_is_told(api: Api, body: dict[str, object]) -> None:
    assert (await api.call("POST", URL, as_="adm", body=body)).status == 422
    assert api.server.revoked == []


async def test_only_operators_revoke(api: Api) -> None:
    for caller, status in [(None, 401), ("bad", 401), ("pub", 403), (api.token(), 403)]:
        assert (await api.call("POST", URL, as_=caller, body={"user_id": "ann"})).status == status
    assert (
        await api.call("POST", URL, as_=api.token(scopes=["admin"]), body={"user_id": "ann"})
    ).status == 200
