"""Keys, scopes and tickets: who may do what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifyd.auth import Identity, MissingToken, RequestFacts, TokenVerifier, mint_token
from notifyd.config import Config
from notifyd.errors import Forbidden, Unauthorized, Unavailable
from notifyd.keys import KeyRing, Keys, Tickets, keys_from_config

SECRET = "a secret of more than thirty-two bytes"
NOW_MS = 1_780_000_000_000
ANN = Identity("ann", NOW_MS + 3_600_000)
ONCE, STREAM = False, True


def token(user_id: str = "ann", scopes: tuple[str, ...] = ()) -> str:
    return mint_token(SECRET, user_id, now_ms=NOW_MS, ttl_s=60, scopes=scopes)


def make_keys() -> Keys:
    return Keys(TokenVerifier(SECRET), publish_keys=["pub-1", "pub-2"], admin_keys=["adm-1"])


def bearer(value: str) -> str:
    return f"Bearer {value}"


# --- users ----------------------------------------------------------------------------------------------


def test_a_user_comes_with_a_token() -> None:
    facts = RequestFacts(authorization=bearer(token()))
    assert make_keys().authenticate(facts, NOW_MS).user_id == "ann"


def test_a_first_frame_or_refresh_is_a_token_alone() -> None:
    assert make_keys().verify_token(token("bob"), NOW_MS).user_id == "bob"


def test_a_request_without_any_credential_misses_a_token() -> None:
    with pytest.raises(MissingToken, match="Send a token or key"):
        make_keys().authenticate(RequestFacts(), NOW_MS)


def test_a_bad_token_is_unauthorized_but_not_missing() -> None:
    with pytest.raises(Unauthorized) as refusal:
        make_keys().authenticate(RequestFacts(token="garbage"), NOW_MS)
    assert not isinstance(refusal.value, MissingToken)


@pytest.mark.parametrize("key", ["pub-1", "adm-1"])
def test_a_key_is_nobody(key: str) -> None:
    with pytest.raises(Forbidden, match="not a user's token"):
        make_keys().authenticate(RequestFacts(authorization=bearer(key)), NOW_MS)


def test_without_a_secret_no_token_holds() -> None:
    keys = Keys(None, publish_keys=["pub-1"])
    with pytest.raises(Unauthorized, match="The token is not valid"):
        keys.authenticate(RequestFacts(token=token()), NOW_MS)
    assert keys.unchecked == ()


# --- publishers and operators ---------------------------------------------------------------------------


def test_each_key_has_its_own_lasting_name() -> None:
    keys = make_keys()
    first, second = (keys.publisher(bearer(key), NOW_MS) for key in ("pub-1", "pub-2"))
    assert first != second
    assert Keys(None, publish_keys=["pub-2", "pub-1"]).publisher(bearer("pub-1"), NOW_MS) == first
    assert "pub-1" not in first


def test_an_admin_key_is_an_operator() -> None:
    assert make_keys().operator(bearer("adm-1"), NOW_MS).startswith("key-")


def test_scopes_stand_for_keys() -> None:
    keys = make_keys()
    assert keys.publisher(bearer(token(scopes=("notifications:write",))), NOW_MS) == "token::ann"
    assert keys.operator(bearer(token(scopes=("admin",))), NOW_MS) == "token::ann"


@pytest.mark.parametrize(
    ("role", "value", "error"),
    [
        ("publisher", None, MissingToken),
        ("publisher", "Basic cHViLTE=", MissingToken),
        ("publisher", bearer(token()), Forbidden),
        ("publisher", bearer(token(scopes=("admin",))), Forbidden),
        ("publisher", bearer("adm-1"), Forbidden),
        ("publisher", bearer("pub-"), Unauthorized),
        ("publisher", bearer("pub-11"), Unauthorized),
        ("publisher", bearer("PUB-1"), Unauthorized),
        ("publisher", bearer("\ud800"), Unauthorized),
        ("operator", None, MissingToken),
        ("operator", bearer(token()), Forbidden),
        ("operator", bearer(token(scopes=("notifications:write",))), Forbidden),
        ("operator", bearer("pub-1"), Forbidden),
        ("operator", bearer("nothing"), Unauthorized),
    ],
)
def test_nobody_gets_what_is_not_theirs(role: str, value: str | None, error: type[Exception]) -> None:
    keys = make_keys()
    with pytest.raises(error):
        getattr(keys, role)(value, NOW_MS)


@given(st.lists(st.text(), unique=True), st.text())
def test_a_ring_knows_its_keys_and_no_other(known: list[str], asked: str) -> None:
    ring = KeyRing(known)
    assert (ring.name_of(asked) is not None) == (asked in known)
    assert len({ring.name_of(key) for key in known}) == len(known)


def test_keys_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFYD_JWT_SECRET", "NOTIFYD_PUBLISH_KEYS"):
        monkeypatch.delenv(name, raising=False)
    config = Config.model_validate(
        {
            "jwt_secret": SECRET,
            "publish_keys": "pub-1",
            "admin_keys": "adm-1",
            "jwt_audience": "notifyd",
            "allow_query_token": False,
        }
    )
    keys = keys_from_config(config)
    assert keys.unchecked == ("iss", "typ")
    assert keys.publisher(bearer("pub-1"), NOW_MS) != keys.operator(bearer("adm-1"), NOW_MS)
    with pytest.raises(MissingToken):
        keys.authenticate(RequestFacts(token=token()), NOW_MS)
    with pytest.raises(Unauthorized):
        keys_from_config(Config.model_validate({})).verify_token(token(), NOW_MS)


# --- tickets --------------------------------------------------------------------------------------------


def test_a_ticket_is_its_owner_once() -> None:
    keys = make_keys()
    facts = RequestFacts(ticket=keys.issue_ticket(ANN, NOW_MS), is_websocket=True)
    assert keys.authenticate(facts, NOW_MS + 29_999) == ANN
    with pytest.raises(Unauthorized, match="The token is not valid"):
        keys.authenticate(facts, NOW_MS + 29_999)


def test_a_ticket_waits_thirty_seconds() -> None:
    tickets = Tickets()
    ticket = tickets.issue(ANN, NOW_MS)
    with pytest.raises(Unauthorized):
        tickets.redeem(ticket, NOW_MS + 30_000, stream=ONCE)
    assert len(tickets) == 0


def test_a_ticket_of_an_expired_identity_is_worth_nothing() -> None:
    tickets = Tickets()
    ticket = tickets.issue(Identity("ann", NOW_MS + 10), NOW_MS)
    with pytest.raises(Unauthorized):
        tickets.redeem(ticket, NOW_MS + 10, stream=ONCE)


def test_an_unknown_ticket_is_unauthorized() -> None:
    with pytest.raises(Unauthorized, match="The token is not valid"):
        Tickets().redeem("nothing", NOW_MS, stream=STREAM)


def test_a_stream_opens_again_with_its_ticket_until_the_identity_expires() -> None:
    keys = make_keys()
    facts = RequestFacts(ticket=keys.issue_ticket(ANN, NOW_MS), is_stream=True)
    for moment in (NOW_MS, NOW_MS + 40_000, ANN.expires_ms - 1):
        assert keys.authenticate(facts, moment) == ANN
    with pytest.raises(Unauthorized):
        keys.authenticate(facts, ANN.expires_ms)


def test_the_ticket_of_a_stream_opens_nothing_else() -> None:
    tickets = Tickets()
    ticket = tickets.issue(ANN, NOW_MS)
    tickets.redeem(ticket, NOW_MS, stream=STREAM)
    with pytest.raises(Unauthorized):
        tickets.redeem(ticket, NOW_MS, stream=ONCE)
    assert tickets.redeem(ticket, NOW_MS, stream=STREAM) == ANN


def test_tickets_of_all_users_are_bounded() -> None:
    tickets = Tickets(limit=2)
    tickets.issue(ANN, NOW_MS)
    tickets.issue(Identity("bob", ANN.expires_ms), NOW_MS + 1000)
    with pytest.raises(Unavailable, match="Too many tickets"):
        tickets.issue(Identity("cid", ANN.expires_ms), NOW_MS + 29_999)
    tickets.issue(Identity("cid", ANN.expires_ms), NOW_MS + 30_000)
    assert len(tickets) == 2


def test_a_users_oldest_ticket_makes_room() -> None:
    tickets = Tickets(limit_per_user=2)
    first, second, third = (tickets.issue(ANN, NOW_MS) for _ in range(3))
    with pytest.raises(Unauthorized):
        tickets.redeem(first, NOW_MS, stream=ONCE)
    assert tickets.redeem(second, NOW_MS, stream=ONCE) == ANN
    assert tickets.redeem(third, NOW_MS, stream=ONCE) == ANN
    assert len(tickets) == 0


def test_outdated_deadlines_do_not_pile_up() -> None:
    tickets = Tickets()
    for _ in range(1000):
        tickets.redeem(tickets.issue(ANN, NOW_MS), NOW_MS, stream=ONCE)
    assert len(tickets._deadlines) < 100


def test_tickets_differ() -> None:
    tickets = Tickets()
    assert len({tickets.issue(Identity(f"u{n}", ANN.expires_ms), NOW_MS) for n in range(100)}) == 100


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("issue"), st.sampled_from(["ann", "bob"]), st.integers(1, 100)),
        st.tuples(st.just("redeem"), st.integers(0, 12), st.booleans()),
        st.tuples(st.just("wait"), st.integers(1, 40), st.just(0)),
    ),
    max_size=40,
)


@given(_steps)
def test_tickets_do_what_a_plain_list_of_them_would(steps: list[tuple[str, Any, Any]]) -> None:
    tickets, now_s = Tickets(limit_per_user=3), 0
    made: list[dict[str, Any]] = []
    for step, first, second in steps:
        if step == "wait":
            now_s += first
        elif step == "issue":
            for old in [each for each in made if each["user"] == first and each["until"] > now_s][:-2]:
                old["until"] = 0
            identity = Identity(first, (now_s + second) * 1000)
            ticket = tickets.issue(identity, now_s * 1000)
            made.append(
                {
                    "ticket": ticket,
                    "user": first,
                    "end": now_s + second,
                    "until": now_s + min(30, second),
                    "stream": False,
                }
            )
        elif first < len(made):
            model = made[first]
            good = model["until"] > now_s and (second or not model["stream"])
            try:
                assert tickets.redeem(model["ticket"], now_s * 1000, stream=second).user_id == model["user"]
                assert good
            except Unauthorized:
                assert not good
            if good:
                model |= {"stream": second, "until": model["end"] if second else 0}
