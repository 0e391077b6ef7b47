"""Commands around a server of one's own: serve, demo, check-config, migrate, token."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from notifyd.cli.options import ConfigFile, check_user, seconds, settings_flags
from notifyd.config import Config, load_config, without_password
from notifyd.errors import ConfigError


@settings_flags
async def serve(*, config: ConfigFile = None, **settings: Any) -> None:
    """Run the server until SIGINT or SIGTERM."""
    loaded = load_config(config, **settings)
    from notifyd import service

    await service.serve(loaded, read_config=lambda: load_config(config, **settings))


async def demo(
    *,
    folder: Annotated[Path, Parameter(help="where data, port and secret persist")] = Path(".notifyd-demo"),
    fresh: Annotated[bool, Parameter(help="clear the folder first", negative="")] = False,
    port: Annotated[int | None, Parameter(help="port of the page [default: that of the last time]")] = None,
) -> None:
    """Run a server with three users, a price feed and a page, at the address it prints."""
    from notifyd.demo import run_demo

    await run_demo(folder, fresh=fresh, port=port)


@settings_flags
def check_config(*, config: ConfigFile = None, **settings: Any) -> None:
    """Print the settings in force, and what is not checked. Secrets are not shown."""
    loaded = load_config(config, **settings)
    for name in Config.model_fields:
        default = "" if name in loaded.model_fields_set else "  (default)"
        value = getattr(loaded, name)
        print(f"{name} = {_shown(without_password(value) if name == 'database_url' else value)}{default}")
    for note in notes(loaded):
        print("note:", note)


def _shown(value: Any) -> str:
    if hasattr(value, "get_secret_value"):
        return "********"
    if isinstance(value, tuple):
        return ", ".join(_shown(each) for each in value) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    return "unset" if value is None else str(value)


def notes(config: Config) -> list[str]:
    """What an operator may not have meant."""
    found = []
    if config.jwt_secret is None:
        found.append("no jwt_secret: `notifyd token` makes no token")
    if not config.has_jwt_keys:
        found.append("no jwt_secret, jwt_public_key_file or jwks_url: users come by tickets only")
    else:
        claims = {"aud": config.jwt_audience, "iss": config.jwt_issuer, "typ": config.jwt_type}
        found += [f"tokens: {claim} is not checked" for claim, wanted in claims.items() if wanted is None]
    if not config.publish_keys:
        found.append("no publish_keys: only tokens with the scope notifications:write can publish")
    if not config.admin_keys:
        found.append("no admin_keys: only tokens with the scope admin can do admin calls")
    if config.allow_query_token:
        found.append("allow_query_token: tokens may stand in addresses, which other programs log")
    return found


@settings_flags
def migrate(*, config: ConfigFile = None, **settings: Any) -> None:
    """Bring the database up to date."""
    from notifyd.clock import wall_ms
    from notifyd.logs import configure_logging
    from notifyd.store.schema import REVISION
    from notifyd.store.sql import open_database, prepare

    loaded = load_config(config, **settings)
    configure_logging(loaded.log_level, loaded.log_format)
    url = loaded.database_url
    with open_database(url, busy_s=4.5) as database:
        prepare(database, wall_ms())
    print(f"{without_password(url)} is up to date (revision {REVISION})")


def token(
    *,
    user: Annotated[str, Parameter(help="the user's id")],
    ttl: Annotated[str, Parameter(help="how long it holds: 90s, 15m, 1h, 7d")] = "1h",
    scope: Annotated[
        list[str] | None, Parameter(help="notifications:write or admin; repeatable", negative="")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Make a token for a user, signed with the secret in the settings."""
    print(mint(load_config(config), user, seconds(ttl), scope or []))


def mint(config: Config, user: str, ttl_s: float, scopes: Sequence[str] = ()) -> str:
    """A token that a server with these settings accepts for `ttl_s` seconds. Raises ConfigError."""
    from notifyd.auth import mint_token
    from notifyd.clock import wall_ms

    check_user(user)
    if config.jwt_secret is None:
        raise ConfigError("set jwt_secret in notifyd.toml or NOTIFYD_JWT_SECRET: tokens are signed with it")
    return mint_token(
        config.jwt_secret.get_secret_value(),
        user,
        now_ms=wall_ms(),
        ttl_s=ttl_s,
        user_claim=config.jwt_user_claim,
        audience=config.jwt_audience,
        issuer=config.jwt_issuer,
        type_=config.jwt_type,
        scopes=scopes,
    )
