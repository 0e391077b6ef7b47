"""The command backtest: what a rule would have told on the stored prices."""

import sys
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from notifyd.checker.money import money
from notifyd.cli.options import Once, Server, say, seconds
from notifyd.cli.wording import printable
from notifyd.errors import ConfigError
from notifyd.messages import encode_json
from notifyd.publisher import open_publisher


async def backtest(
    *,
    item: Annotated[str | None, Parameter(help="id of the item")] = None,
    search: Annotated[str | None, Parameter(help="words of its name instead")] = None,
    store: Annotated[
        list[str] | None, Parameter(help="id of a store; repeatable; a number is one", negative="")
    ] = None,
    target_price: Annotated[int | None, Parameter(help="rule: at most so many cents")] = None,
    percent_drop: Annotated[float | None, Parameter(help="rule: so many percent below the baseline")] = None,
    baseline: Annotated[
        Literal["previous", "median_30d", "lowest"], Parameter(help="of --percent-drop")
    ] = "previous",
    new_best: Annotated[bool, Parameter(help="rule: the best price in 14 days", negative="")] = False,
    rule: Annotated[str | None, Parameter(help="any rule as JSON")] = None,
    limit: Annotated[int, Parameter(help="alerts to print, at most 1000")] = 100,
    json: Annotated[bool, Parameter(help="print the answers as JSON lines", negative="")] = False,
    retry: Annotated[str, Parameter(help="how long to try again what may pass")] = "10s",
    server: Server | None = None,
) -> None:
    """Print the alerts that a watch would have given."""
    if (item is None) == (search is None):
        raise ConfigError("say what to watch: --item ID or --search WORDS")
    what = {"item_id": item} if search is None else {"search": search}
    stores = None if store is None else [int(each) if each.isdecimal() else each for each in store]
    body = what | {"stores": stores, "rule": _rule(target_price, percent_drop, baseline, new_best, rule)}
    server = server or Server()
    address, key = server.address(), server.publish_key()
    async with open_publisher(address, key, give_up_s=seconds(retry), on_retry=Once(say)) as publisher:
        counts = {"total": 0, "items": 0, "prices": 0}
        after: str | None = ""
        while after is not None:
            tested = await publisher.backtest(encode_json(body), after=after, limit=max(1, limit))
            tested["alerts"] = tested["alerts"][: max(0, limit)]
            _print(tested, json=json)
            limit -= len(tested["alerts"])
            counts = {name: count + tested[name] for name, count in counts.items()}
            after = tested["next"]
    say(f"{counts['total']:,} alerts on {counts['prices']:,} prices of {counts['items']:,} items")


def _rule(
    target_price: int | None, percent_drop: float | None, baseline: str, new_best: bool, rule: str | None
) -> Any:
    given: list[Any] = []
    if target_price is not None:
        given.append({"type": "target_price", "price_in_cents": target_price})
    if percent_drop is not None:
        given.append({"type": "percent_drop", "percent": percent_drop, "baseline": baseline})
    if new_best:
        given.append({"type": "new_best"})
    if rule is not None:
        try:
            given.append(msgspec.json.decode(rule))
        except msgspec.DecodeError as fault:
            raise ConfigError(f"--rule is not JSON: {fault}") from None
    if len(given) != 1:
        raise ConfigError("give one rule: --target-price, --percent-drop, --new-best or --rule")
    return given[0]


def _print(tested: dict[str, Any], *, json: bool) -> None:
    if json:
        sys.stdout.write(encode_json(tested).decode() + "\n")
        return
    for alert in tested["alerts"]:
        currency, compared = alert["currency"], alert["baseline_price_in_cents"]
        against = "" if compared is None else f" ({alert['baseline']} {money(compared, currency)})"
        price = money(alert["price_in_cents"], currency)
        print(
            printable(
                f"{alert['observed_at']}  {alert['item_name']} {price}{against} at {alert['store_name']}"
            )
        )
