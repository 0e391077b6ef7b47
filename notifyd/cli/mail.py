"""The command preview-email: what a mail looks like."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from notifyd.cli.options import ConfigFile, settings_flags
from notifyd.config import load_config
from notifyd.errors import ConfigError


@settings_flags
def preview(
    file: Annotated[Path, Parameter(help="where it goes: NAME.eml, NAME.html or NAME.txt")],
    *,
    locale: Annotated[str, Parameter(help="how prices are written, like de-AT")] = "en-US",
    config: ConfigFile = None,
    **settings: Any,
) -> None:
    """Write an example of the mail that users get."""
    from email import message_from_bytes, policy

    from notifyd.mail.example import example_mail

    loaded = load_config(config, **settings)
    mail = example_mail(loaded.mail_from, loaded.public_url, loaded.mail_templates, locale)
    if file.suffix == ".eml":
        file.write_bytes(mail)
    elif file.suffix in (".html", ".txt"):
        parsed = message_from_bytes(mail, policy=policy.default)
        body = parsed.get_body(("html",) if file.suffix == ".html" else ("plain",))
        assert body is not None
        file.write_text(str(body.get_content()), encoding="utf-8")
    else:
        raise ConfigError(f"{file}: write NAME.eml, NAME.html or NAME.txt")
    print(f"{file}: an example mail")
