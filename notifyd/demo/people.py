"""Who uses the demo, and what each of them watches."""

from __future__ import annotations

from typing import Any, NamedTuple

#: Seconds that a demo watch keeps silent after it fired: here a day passes in minutes.
COOLDOWN_S = 20


class Person(NamedTuple):
    """One of the demo's users; `watches` maps item ids to rules."""

    user_id: str
    name: str
    about: str
    watches: dict[str, dict[str, Any]]

    @property
    def profile(self) -> dict[str, str]:
        """Where and how to write to them; nobody has such an address."""
        return {
            "email": f"{self.user_id}@demo.example",
            "locale": "en-US",
            "time_zone": "America/New_York",
        }


def _drop(percent: int, baseline: str) -> dict[str, Any]:
    return {"type": "percent_drop", "percent": percent, "baseline": baseline, "cooldown_s": COOLDOWN_S}


def _target(cents: int) -> dict[str, Any]:
    return {"type": "target_price", "price_in_cents": cents, "cooldown_s": COOLDOWN_S}


PEOPLE = (
    Person(
        "ada",
        "Ada",
        "juice, coffee, milk and granola",
        {
            "orange-juice": _drop(15, "median_30d"),
            "ground-coffee": _drop(15, "median_30d"),
            "whole-milk": _target(339),
            "granola": _drop(20, "previous"),
        },
    ),
    Person(
        "ben",
        "Ben",
        "spaghetti, tomatoes, olive oil and parmesan",
        {
            "spaghetti": _target(149),
            "tomatoes": _drop(15, "previous"),
            "olive-oil": _drop(15, "median_30d"),
            "parmesan": _drop(15, "median_30d"),
        },
    ),
    Person(
        "chika",
        "Chika",
        "butter, eggs, chocolate and green tea",
        {
            "butter": _drop(15, "median_30d"),
            "eggs": _target(369),
            "dark-chocolate": _drop(20, "previous"),
            "green-tea": _drop(15, "median_30d"),
        },
    ),
)
