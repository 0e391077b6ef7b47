"""The commands, thin: each finds its settings, calls one part of notifyd and says what came of it.

    server   serve, demo, token, check-config, migrate       talk     publish, listen
    prices   import-prices      backtest   backtest          options  settings as flags, whom to talk to
    why      why                                             wording  messages and errors for people
    mail     preview-email
    care     backup, restore-epoch, doctor

A module of commands is imported when one of its commands is used, so that `--help` stays quick. Exit codes:
0 done, 1 it failed, 2 wrong usage or settings; a failure is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from inspect import cleandoc
from typing import TYPE_CHECKING, NamedTuple

from cyclopts import App, CycloptsError

from notifyd.errors import ConfigError, NotifydError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class _Command(NamedTuple):
    name: str
    target: str
    about: str


#: The texts stand here and not in docstrings, which would need the module imported.
_COMMANDS = (
    _Command(
        "serve",
        "server:serve",
        """Run the server until SIGINT or SIGTERM.

        It prints `listening on …` once it does.

        Example: `notifyd serve --listen 127.0.0.1:8000 --publish-keys some-long-key`""",
    ),
    _Command(
        "demo",
        "server:demo",
        """Run a server with three users, a price feed and a page.

        Example: `notifyd demo --fresh`""",
    ),
    _Command(
        "publish",
        "talk:publish",
        """Publish a notification, or many from a file or standard input.

        Example: `notifyd publish --user ann --message "Your report is ready"`

        Example: `notifyd publish --broadcast --type x-sale --data '{"until": "noon"}'`

        Example: `my-report --as-json-lines | notifyd publish -`

        With FILE (- is standard input) each line is what POST /v1/notifications takes:
        `{"user_id": "ann", "type": "system-message", "data": {"message": "Hello"}}`. Up to 1,000 go in one
        request, and what has come is not kept waiting for more. Lines succeed or fail each alone: a rejected
        one is told on standard error with its number, and makes the exit code 1.

        Sending the same input again within 24 hours is safe, after any failure and also with mended lines: a
        line without an `idempotency_key` of its own gets one that follows from what it says, so that what is
        stored is not stored twice. Two lines of one input that say the same are two notifications. To send
        the same lines once more as something new, name the run: `--batch monday`.""",
    ),
    _Command(
        "listen",
        "talk:listen",
        """Print a user's notifications as they come, a line each.

        It comes back by itself after any outage and goes on where it was; standard error says so. Where a
        proxy does not let WebSockets through it goes over to SSE; `--transport` chooses one.

        Example: `notifyd listen --user ann`""",
    ),
    _Command(
        "why",
        "why:why",
        """Say what became of a notification, and why nobody has seen it.

        ID is its notification_id or the id of its message. It needs an admin key. Times of `dispatched` and
        `written` are exact within a second.

        Example: `notifyd why ann 019b0a7c51f0d1a94f3c02e86b77`""",
    ),
    _Command(
        "token",
        "server:token",
        """Make a token for a user, signed with the secret in the settings.

        Example: `notifyd token --user ann --ttl 1h`""",
    ),
    _Command(
        "import-prices",
        "prices:import_file",
        """Import prices from a CSV or JSON lines file, gzipped or not.

        Fields are item_id, item_name, store_id, price_in_cents, currency, and optionally store_name,
        observed_at, valid_until, url, image_url; a column of the same name is found without --map. Good rows
        go in, bad ones are told with their line. Importing a file again adds nothing.

        Example: `notifyd import-prices prices.csv.gz --map item_name=item --map price_in_cents=price
        --decimals 2 --set currency=USD --observed-at week --week-one 1989-09-14`""",
    ),
    _Command(
        "backtest",
        "backtest:backtest",
        """Print the alerts that a watch would have given on the stored prices; nothing is saved.

        Example: `notifyd backtest --item oj-64 --percent-drop 15 --baseline median_30d`

        Example: `notifyd backtest --search "orange juice" --new-best`""",
    ),
    _Command(
        "preview-email",
        "mail:preview",
        """Write an example of the mail that users get, with the settings' templates.

        It needs no server and sends nothing. `.eml` opens in mail programs, `.html` in browsers.

        Example: `notifyd preview-email mail.html --locale de-AT`""",
    ),
    _Command(
        "check-config",
        "server:check_config",
        """Print the settings in force, and what is not checked. Secrets are not shown.

        Example: `notifyd check-config --config /etc/notifyd.toml`""",
    ),
    _Command(
        "migrate",
        "server:migrate",
        """Bring the database up to date. The server does so as well when it starts.

        Example: `notifyd migrate --database-url sqlite:///notifyd.db`""",
    ),
    _Command(
        "backup",
        "care:backup",
        """Copy the database to FILE while the server runs.

        The copy is one moment of the database, and has its name only when it is complete, checked and synced.
        To restore it, stop the server, put the copy where the database was (and delete the old one's -wal and
        -shm files), run `notifyd restore-epoch` and start the server.

        Example: `notifyd backup /backups/notifyd-monday.db`""",
    ),
    _Command(
        "restore-epoch",
        "care:restore_epoch",
        """Give the log a new epoch, after a restore from a copy.

        A restored log lacks what came after the copy, and will use the same numbers for something else. With
        a new epoch every client is told `recovered: false` and takes the truth from the inbox; without it,
        some would miss notifications and never know. The server must not run.

        Example: `notifyd restore-epoch --database-url sqlite:///notifyd.db`""",
    ),
    _Command(
        "doctor",
        "care:doctor",
        """Look at the database and the settings, and say what breaks a promise.

        It checks the file's integrity, the log's epoch, head and floors, and rows that belong to nothing, and
        changes nothing; the server may run. A `problem` makes the exit code 1, a `note` does not.

        Example: `notifyd doctor --database-url sqlite:///notifyd.db`""",
    ),
)


def make_app() -> App:
    """The command line, with no module of commands imported yet."""
    app = App(
        name="notifyd",
        help="A notification server for deal alerts. Example: `notifyd demo`",
        version=_version,
        backend="trio",
        suppress_keyboard_interrupt=False,
    )
    app.command(_show_versions, name="--versions", help="Versions of what parses strangers' bytes.")
    for place, command in enumerate(_COMMANDS):
        about = cleandoc(command.about)
        app.command(f"notifyd.cli.{command.target}", name=command.name, help=about, sort_key=place)
    return app


def _version() -> str:
    from notifyd import __version__

    return __version__


def _show_versions() -> int:
    """One line each; 2 when one is known to be unsafe, as the server would not start with it."""
    from notifyd.floors import check_floors, versions

    print("\n".join(versions()))
    check_floors()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        result = make_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        known = [command.name for command in _COMMANDS if command.name in arguments[:1]]
        wrong = str(error).partition(" Available commands:")[0].rstrip(".")  # that list leaves some out
        return _fail(2, f"{wrong}; see `{' '.join(['notifyd', *known, '--help'])}`")
    except (KeyboardInterrupt, Exception, BaseExceptionGroup) as error:
        return _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: BaseException) -> int:
    """One line and an exit code for what may happen; anything else is a bug and rises with its traceback."""
    causes = list(_leaves(error))
    if any(isinstance(cause, BrokenPipeError) for cause in causes):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush cannot fail
        return 0
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        return _fail(1, "interrupted")
    for cause in causes:
        if isinstance(cause, ConfigError):
            return _fail(2, "; ".join(str(cause).splitlines()))
        if isinstance(cause, NotifydError | OSError):
            from notifyd.cli.wording import advice

            return _fail(1, advice(cause))
    raise error


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _fail(code: int, text: str) -> int:
    print("notifyd:", " ".join(text.split()), file=sys.stderr)
    return code
