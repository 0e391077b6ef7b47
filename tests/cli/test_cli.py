"""Commands as people type them: help, exit codes, and one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from notifyd import __version__, cli
from notifyd.cli import main
from notifyd.cli.options import address_of, seconds
from notifyd.errors import ConfigError, OutcomeUnknown

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "0123456789012345678901234567890123456789"
COMMANDS = ["serve", "demo", "publish", "listen", "why", "token"]
COMMANDS += ["import-prices", "backtest", "check-config", "migrate", "backup", "restore-epoch", "doctor"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own, and a terminal of one width."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("NOTIFYD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Ran:
        code = main(arguments)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


def test_help_lists_every_command(run: Any) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert all(f" {command} " in ran.out for command in COMMANDS)


def test_no_command_is_help(run: Any) -> None:
    assert "serve" in run().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run: Any, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"Example: notifyd {command}" in ran.out


def test_the_version(run: Any) -> None:
    assert run("--version").out == f"{__version__}\n"


def test_help_imports_no_command_and_nothing_heavy() -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\nfrom notifyd.cli import main\nmain(['--help'])\n"
        "print(*set(sys.modules) - before, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert not {"notifyd.config", "notifyd.cli.server", "notifyd.cli.talk"} & imported
    # cyclopts and what it brings; trio, pydantic, SQLAlchemy, Quart and httpx2 take a second to import.
    few = {"cyclopts", "attr", "attrs", "docstring_parser", "rich", "pygments", "markdown_it", "mdurl"}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"notifyd"} <= few


def test_every_setting_is_a_flag_of_serve(run: Any) -> None:
    from notifyd.config import Config

    text = run("serve", "--help").out
    for name in Config.model_fields:
        assert f"--{name.replace('_', '-')}" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bogus"], 'Unknown command "bogus"; see `notifyd --help`'),
        (["serve", "--bogus", "1"], "see `notifyd serve --help`"),
        (["serve", "--listen", "nowhere"], "listen: 'nowhere' is not HOST:PORT"),
        (["serve", "--config", "nothing.toml"], "nothing.toml: there is no such file"),
        (["token"], "--user"),
        (["token", "--user", "ann"], "set jwt_secret"),
        (["token", "--user", ""], "--user '': an id of a user has 1 to 128"),
        (["token", "--user", "ann", "--ttl", "soon"], "write 90s, 15m, 1h or 7d"),
        (["publish", "--message", "x"], "--user USER (repeatable) or --broadcast"),
        (
            ["publish", "--message", "x", "--user", "a", "--broadcast"],
            "--user USER (repeatable) or --broadcast",
        ),
        (["publish", "--user", "a"], "--message TEXT or --data JSON"),
        (["publish", "--user", "a", "--user", "b\n", "--message", "x"], "printable characters"),
        (["publish", "--user", "a", "--data", "[1]"], "--data is not a JSON object"),
        (["publish", "--user", "a", "--message", "x"], "give a publish key"),
        (["publish", "--user", "a", "--message", "x", "--key", "é"], "--key"),
        (["publish", "--user", "a", "--message", "x", "--url", "ftp://h"], "write http://HOST:PORT"),
        (["publish", "--user", "a", "--message", "x", "--severity", "loud"], "severity"),
        (["publish", "-", "--user", "a"], "with FILE each line says all of its notification"),
        (["publish", "f.jsonl", "--type", "x-a"], "leave those options out"),
        (["publish", "--user", "a", "--message", "x", "--batch", "b"], "--batch goes with FILE"),
        (["publish", "-"], "give a publish key"),
        (["listen", "--token", "t", "--transport", "pigeon"], "transport"),
        (["listen"], "--user USER or --token TOKEN"),
        (["listen", "--user", "a", "--token", "t"], "--user USER or --token TOKEN"),
        (["listen", "--user", "a"], "set jwt_secret"),
        (["listen", "--token", "t", "--cursor", "%"], "--cursor"),
        (["listen", "--token", "a\nb"], "--token"),
        (["backtest", "--new-best", "--key", "k"], "say what to watch: --item ID or --search WORDS"),
        (["backtest", "--item", "a", "--key", "k"], "give one rule: "),
        (["backtest", "--item", "a", "--key", "k", "--rule", "{"], "--rule is not JSON: "),
        (["import-prices", "nothing.csv", "--key", "k"], "nothing.csv: there is no such file"),
        (["import-prices", ".", "--key", "k"], ".: a folder; name a file in it"),
        (["import-prices", "f", "--key", "k", "--map", "a=b"], "write FIELD=COLUMN"),
        (["import-prices", "f", "--key", "k", "--week-one", "soon"], "write a date like 1989-09-14"),
        (["migrate", "--database-url", "mysql://x"], "database_url"),
    ],
)
def test_wrong_usage_is_two_and_one_line(run: Any, arguments: list[str], text: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert text in ran.err
    assert ran.err.startswith("notifyd: ")
    assert ran.err.count("\n") == 1


def test_all_wrong_settings_are_told_at_once(run: Any) -> None:
    ran = run("check-config", "--listen", "x", "--trusted-hops", "99", "--jwt-secret", "short")
    assert ran.code == 2
    assert all(name in ran.err for name in ("listen", "trusted_hops", "jwt_secret"))


def test_a_server_that_is_not_there_is_one_with_advice(run: Any) -> None:
    ran = run(
        "publish", "--user", "a", "--message", "x", "--key", "k", "--url", "unix:nothing", "--retry", "1s"
    )
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("notifyd: cannot reach")
    assert "is `notifyd serve` running there? (--url)" in ran.err
    assert len(ran.err.splitlines()) == 2, "the same reason for trying again is told once"


def test_a_token_is_what_the_settings_want(run: Any, tmp_path: Path) -> None:
    settings = f'jwt_secret = "{SECRET}"\njwt_user_claim = "uid"\njwt_audience = "shop"\njwt_issuer = "me"\n'
    (tmp_path / "other.toml").write_text(settings)
    ran = run("token", "--user", "ann", "--ttl", "2m", "--scope", "admin", "--config", "other.toml")
    claims = jwt.decode(ran.out.strip(), SECRET, ["HS256"], audience="shop", issuer="me")
    assert (claims["uid"], claims["scope"], claims["exp"] - claims["iat"]) == ("ann", "admin", 120)


def test_check_config_shows_all_but_secrets(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "notifyd.toml").write_text(
        f'jwt_secret = "{SECRET}"\npublish_keys = ["key-one", "key-two"]\n'
    )
    monkeypatch.setenv("NOTIFYD_RETENTION_DAYS", "7")
    ran = run("check-config", "--listen", "127.0.0.1:1", "--no-allow-query-token")
    assert ran.code == 0
    assert "listen = 127.0.0.1:1\n" in ran.out
    assert "retention_days = 7.0\n" in ran.out
    assert "drain_seconds = 10.0  (default)\n" in ran.out
    assert "jwt_secret = ********\n" in ran.out
    assert "publish_keys = ********, ********\n" in ran.out
    assert "allow_query_token = false\n" in ran.out
    assert "jwt_audience = unset  (default)\n" in ran.out
    assert "admin_keys = none  (default)\n" in ran.out
    assert SECRET not in ran.out
    assert "key-one" not in ran.out
    assert "note: tokens: aud is not checked" in ran.out
    assert "note: no admin_keys" in ran.out


def test_check_config_notes_an_open_door(run: Any) -> None:
    text = run("check-config").out
    assert "note: no jwt_secret" in text
    assert "note: no publish_keys" in text
    assert "note: allow_query_token" in text


def test_check_config_has_nothing_to_note(run: Any) -> None:
    ran = run(
        *("check-config", "--jwt-secret", SECRET, "--jwt-audience", "a", "--jwt-issuer", "i"),
        *("--jwt-type", "at+jwt", "--publish-keys", "k", "--admin-keys", "l", "--no-allow-query-token"),
    )
    assert "note:" not in ran.out


def test_migrate_makes_the_database_and_may_be_repeated(run: Any, tmp_path: Path) -> None:
    for _ in range(2):
        ran = run("migrate", "--database-url", f"sqlite:///{tmp_path}/n.db")
        assert ran.code == 0
        assert "is up to date (revision" in ran.out
    assert (tmp_path / "n.db").exists()


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1w", "1.5h", "h", "٣s"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="duration"):
        seconds(text)


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("host:1", "http://host:1"),
        ("unix:/run/s", "unix:/run/s"),
    ],
)
def test_where_a_server_listens(listen: str, url: str) -> None:
    assert address_of(listen) == url


def test_a_port_that_is_picked_is_not_known() -> None:
    with pytest.raises(ConfigError, match="--url"):
        address_of("127.0.0.1:0")


# --- how commands may end ------------------------------------------------------------------------------


class _Ending:
    """An app whose command ends in `error`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *arguments: Any, **options: Any) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (KeyboardInterrupt(), 1, "notifyd: interrupted\n"),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), 1, "notifyd: interrupted\n"),
        (
            ExceptionGroup("", [ExceptionGroup("", [ConfigError("a: bad\nb: worse")])]),
            2,
            "notifyd: a: bad; b: worse\n",
        ),
        (OutcomeUnknown("perhaps"), 1, "notifyd: perhaps\n"),
        (PermissionError(13, "Permission denied", "n.db"), 1, "notifyd: n.db: Permission denied\n"),
        (OSError(), 1, "notifyd: OSError\n"),
    ],
)
def test_errors_become_one_line(
    run: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    monkeypatch.setattr(cli, "make_app", lambda: _Ending(error))
    ran = run("x")
    assert (ran.code, ran.err) == (code, text)


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "make_app", lambda: _Ending(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["x"])


def test_a_reader_that_left_is_no_failure() -> None:
    script = (
        "import sys\nfrom notifyd.cli import main\n"
        "sys.stdout.reconfigure(write_through=True)\nsys.exit(main(['check-config']))\n"
    )
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_versions_of_what_strangers_bytes_go_through(run: Any) -> None:
    out = run("--versions").out
    assert "pyjwt " in out
    assert "(at least 2.13.0)" in out
