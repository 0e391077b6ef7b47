"""Settings: `notifyd.toml`, then `NOTIFYD_*`, then flags. Frozen; unknown keys are refused.

Durations are seconds as float, sizes are bytes as int, moments are milliseconds since 1970.
"""

from __future__ import annotations

import difflib
import os
import re
import secrets
from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from notifyd.errors import ConfigError
from notifyd.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

ENV_PREFIX = "NOTIFYD_"
CONFIG_FILE = "notifyd.toml"

#: RFC 7518 section 3.2: an HS256 key has at least 256 bits.
MIN_SECRET_BYTES = 32


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _origin(value: str) -> str:
    scheme, separator, host = value.partition("://")
    if not separator or scheme not in ("http", "https") or not host or set("/?#* ") & set(host):
        raise ValueError(f"{value!r} is not an origin: write scheme://host or scheme://host:port")
    return value.lower()


Keys = Annotated[tuple[SecretStr, ...], NoDecode]
Paths = Annotated[tuple[str, ...], NoDecode]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], NoDecode]


class Config(BaseSettings):
    """Everything an operator can set; each field says its unit."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, extra="forbid", frozen=True, toml_file=CONFIG_FILE, env_ignore_empty=True
    )

    listen: str = Field("127.0.0.1:8000", description="HOST:PORT (port 0 picks one) or unix:PATH")
    operator_listen: str | None = Field(
        None, description="HOST:PORT where metrics, health and admin calls are served, and nowhere else"
    )
    tls_cert_file: Path | None = Field(None, description="PEM file of the certificate and its chain")
    tls_key_file: Path | None = Field(None, description="PEM file of the certificate's private key")
    database_url: str = Field("sqlite:///notifyd.db", description="sqlite:///FILE or postgresql://…")
    public_url: str | None = Field(None, description="the address users see, for links")

    jwt_secret: SecretStr | None = Field(None, description="HS256 secret of at least 32 bytes")
    jwt_previous_secret: SecretStr | None = Field(
        None, description="the HS256 secret of before: its tokens count too, until all have expired"
    )
    jwt_public_key_file: Paths = Field(
        (), description="PEM files of public keys (RS256, ES256, EdDSA), all valid at once, comma-separated"
    )
    jwks_url: str | None = Field(
        None, description="https address of the issuer's JWK Set; http only on the loopback"
    )
    jwt_user_claim: str = Field("sub", description="the claim that names the user")
    jwt_audience: str | None = Field(None, description="required `aud`, once set")
    jwt_issuer: str | None = Field(None, description="required `iss`, once set")
    jwt_type: str | None = Field(None, description="required `typ` header, once set")
    allow_query_token: bool = Field(True, description="accept ?token= as the original client sends it")
    publish_keys: Keys = Field((), description="keys of publishers, comma-separated")
    admin_keys: Keys = Field((), description="keys of operators, comma-separated")
    allowed_origins: Origins = Field(
        (),
        description="origins that may use the cookie and read answers, comma-separated; list your own, too",
    )
    trusted_hops: int = Field(0, ge=0, le=10, description="proxies in front whose X-Forwarded-For counts")

    max_connections_per_user: int = Field(10, ge=1, description="live connections of one user, both kinds")
    max_connections: int = Field(
        0,
        ge=0,
        description="connections at once, a stream over HTTP/2 being two; 0: as descriptors have room for",
    )
    max_unauthenticated: int = Field(200, ge=1, description="connections at once that still owe their token")
    auth_seconds: float = Field(5, gt=0, description="seconds for the first frame, with the token")
    head_seconds: float = Field(5, gt=0, description="seconds for a request head, and for TLS before it")
    failed_handshakes: int = Field(
        20,
        ge=1,
        description="handshakes without a valid token of one address, at once and in each 10 s",
    )
    max_message_bytes: int = Field(
        16_384, ge=1024, le=1_048_576, description="bytes of one message of a client (OWASP: at most 64 KB)"
    )
    max_message_fragments: int = Field(64, ge=1, description="frames of one message of a client")
    message_rate: float = Field(20, gt=0, description="messages a second of one connection")
    message_burst: int = Field(40, ge=1, description="messages of one connection at once")
    control_rate: float = Field(
        10, gt=0, description="Ping and Pong frames a second of one connection; twice as many at once"
    )
    publish_rate: float = Field(
        1000, ge=0, description="notifications a second of one publisher, twice as many at once; 0: no limit"
    )

    retention_days: float = Field(30, gt=0, description="days that a notification is kept")
    price_detail_days: float = Field(
        90, ge=45, description="days before the newest of its store that every price of an item is kept"
    )
    max_rows_per_user: int = Field(10_000, ge=1, description="own notifications kept for one user")
    drain_seconds: float = Field(10, ge=0, le=300, description="seconds over which a stop may spread closes")
    check_interval_seconds: float = Field(60, gt=0, description="seconds between looks at polled sources")
    heartbeat_seconds: float = Field(30, gt=0, description="seconds between pings")
    pong_seconds: float = Field(8, gt=0, description="seconds for an answer once a ping has left")

    smtp_url: SecretStr | None = Field(
        None, description="mail server: smtp://, smtp+starttls:// or smtps:// USER:PASSWORD@HOST:PORT"
    )
    mail_from: str = Field("notifyd <notifyd@localhost>", description="the address that mail comes from")
    mail_folder: Path | None = Field(None, description="without smtp_url: where mail is written, as .eml")
    mail_templates: Path | None = Field(None, description="folder of own templates for mail")
    email_grace_seconds: float = Field(
        60, ge=0, le=86_400, description="seconds for a device to acknowledge before mail is sent"
    )

    canary_seconds: float = Field(
        15, ge=0, description="seconds between notifications that the server sends itself as a check; 0: none"
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    @property
    def limits(self) -> Limits:
        """What a stranger's connection may do."""
        return Limits(
            max_message_bytes=self.max_message_bytes,
            max_message_fragments=self.max_message_fragments,
            message_rate=self.message_rate,
            message_burst=self.message_burst,
            control_rate=self.control_rate,
            control_burst=max(1, round(2 * self.control_rate)),
            auth_seconds=self.auth_seconds,
            max_unauthenticated=self.max_unauthenticated,
            failed_handshakes=self.failed_handshakes,
        )

    @property
    def has_jwt_keys(self) -> bool:
        """Whether any setting says how tokens are verified."""
        return bool(self.jwt_secret or self.jwt_previous_secret or self.jwt_public_key_file or self.jwks_url)

    @field_validator("publish_keys", "admin_keys", "allowed_origins", "jwt_public_key_file", mode="before")
    @classmethod
    def _comma_separated(cls, value: Any) -> Any:
        return _split(value)

    @field_validator("jwks_url")
    @classmethod
    def _safe_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://unset")
        if parts.username or not parts.hostname or parts.scheme not in ("http", "https"):
            raise ValueError("write https://HOST/PATH")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("keys that came by http could be anybody's: write https://HOST/PATH")
        return value

    @field_validator("jwt_secret", "jwt_previous_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < MIN_SECRET_BYTES:
            suggestion = secrets.token_urlsafe(32)
            raise ValueError(f"needs at least {MIN_SECRET_BYTES} bytes (RFC 7518), for example {suggestion}")
        return value

    @field_validator("listen", "operator_listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            parse_address(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        if not value.startswith(("sqlite:///", "postgresql://", "postgres://")):
            raise ValueError("write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
        return value

    @field_validator("mail_from")
    @classmethod
    def _one_address(cls, value: str) -> str:
        name, address = parseaddr(value)
        if not address.isascii() or not (name + address).isprintable() or "@" not in address[1:-1]:
            raise ValueError("write notifyd@shop.example or Shop <notifyd@shop.example>")
        return value

    @property
    def sends_mail(self) -> bool:
        """Whether users with an address are written to at all."""
        return self.smtp_url is not None or self.mail_folder is not None

    @model_validator(mode="after")
    def _keys_differ(self) -> Config:
        shared = {key.get_secret_value() for key in self.publish_keys} & {
            key.get_secret_value() for key in self.admin_keys
        }
        if shared:
            raise ValueError("publish_keys and admin_keys share a key; give operators their own")
        return self

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Config:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        return self

    @model_validator(mode="after")
    def _answer_before_the_next_ping(self) -> Config:
        if self.pong_seconds >= self.heartbeat_seconds:
            raise ValueError("pong_seconds must be shorter than heartbeat_seconds")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def parse_address(text: str) -> tuple[str, int] | str:
    """`HOST:PORT` as a pair, `unix:PATH` as the path. Raises ValueError."""
    if text.startswith("unix:"):
        if len(text) == len("unix:"):
            raise ValueError("unix: needs a path")
        return text.removeprefix("unix:")
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not HOST:PORT or unix:PATH")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this very machine."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def without_password(url: str) -> str:
    """A database's URL as it may be shown."""
    shown = re.sub(r"(?<=://)([^/?#@:]*):[^/?#]*@", r"\1:********@", url)
    return re.sub(r"(?<=[?&]password=)[^&]*", "********", shown)


def load_config(config_file: Path | None = None, **flags: Any) -> Config:
    """Read every source; flags that are None are left out. Raises ConfigError with all faults, one a line."""
    given = {name: value for name, value in flags.items() if value is not None}
    unknown = [
        _unknown(name, ENV_PREFIX, str.upper)
        for name in sorted(os.environ)
        if name.startswith(ENV_PREFIX)
        and name.removeprefix(ENV_PREFIX).lower() not in Config.model_fields
        and name.removeprefix(ENV_PREFIX) not in _CLIENT_VARIABLES
    ]
    if config_file is not None and not config_file.is_file():
        raise ConfigError(f"{config_file}: there is no such file")
    model = Config if config_file is None else _with_file(config_file)
    try:
        config = model(**given)
    except ValidationError as error:
        faults = [_line(fault) for fault in error.errors()]
        raise ConfigError("\n".join(faults + unknown)) from None
    except OSError as error:
        raise ConfigError(f"{error.filename or config_file or CONFIG_FILE}: {error.strerror}") from None
    except ValueError as error:  # tomllib.TOMLDecodeError
        raise ConfigError(f"{config_file or CONFIG_FILE}: {error}") from None
    if unknown:
        raise ConfigError("\n".join(unknown))
    return config


#: Read by the commands that talk to a running server, not by the server.
_CLIENT_VARIABLES = frozenset({"URL", "KEY", "TOKEN"})


def _with_file(config_file: Path) -> type[Config]:
    class FromFile(Config):
        model_config = SettingsConfigDict(toml_file=config_file)

    return FromFile


def _unknown(name: str, prefix: str = "", spell: Callable[[str], str] = str) -> str:
    known = [prefix + spell(each) for each in Config.model_fields]
    meant = difflib.get_close_matches(name, known, 1, 0.8)
    return f"{name}: there is no such setting{''.join(f'; did you mean {each}?' for each in meant)}"


def _line(fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    text = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return _unknown(name)
    return f"{name}: {text}" if name else text
