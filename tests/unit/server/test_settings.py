"""Where settings come from, which source wins, and what is refused with which sentence."""

import dataclasses
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from lockstream._link import MAX_FRAME_BYTES
from lockstream_server.option_sources import to_toml
from lockstream_server.options import (
    SettingError,
    format_duration,
    options_of,
    parse_duration,
)
from lockstream_server.settings import Settings, load_settings

SERVER_PATH = str(Path(__file__).parents[3] / "server")


def load(*argv: str, env: Mapping[str, str] | None = None) -> Settings:
    return load_settings(argv, env or {}, version="1").settings


def run(*argv: str, env: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lockstream_server", *argv],
        env={"PYTHONPATH": SERVER_PATH, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_defaults_need_no_input() -> None:
    settings = load()
    assert settings.listen == ("127.0.0.1:7420",)
    assert settings.etcd_targets == ("127.0.0.1:2379",)
    assert (settings.min_ttl, settings.default_ttl, settings.max_ttl) == (2, 10, 600)
    assert not settings.etcd_tls
    assert settings.server_name


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('max_sessions = 1\nmax_waiters_per_lock = 1\noutbox_events = 100\nmax_lag="2s"')
    env = {
        "LOCKSTREAM_CONFIG": str(file),
        "LOCKSTREAM_MAX_SESSIONS": "2",
        "LOCKSTREAM_MAX_WAITERS_PER_LOCK": "2",
        "PATH": "/bin",
    }
    settings = load("--max-sessions", "3", env=env)
    assert settings.max_sessions == 3
    assert settings.max_waiters_per_lock == 2
    assert settings.outbox_events == 100
    assert settings.max_lag == 2
    assert settings.proposals_waiting == 20_000


def test_the_config_flag_beats_its_variable(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("max_sessions = 7")
    settings = load("--config", str(file), env={"LOCKSTREAM_CONFIG": "/nowhere"})
    assert settings.max_sessions == 7


@pytest.mark.parametrize("value", ["tcp = 1", "max_sessions = '3'", "max_sessions = true", "max_sessions = 1.5"])
def test_an_unknown_key_or_a_wrong_type_in_the_file_is_refused(tmp_path: Path, value: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(value)
    with pytest.raises(SettingError, match=f"file {file}: key {value.partition(' ')[0]}"):
        load("--config", str(file))


def test_a_file_that_is_missing_or_broken_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("listen = ")
    with pytest.raises(SettingError, match="is not TOML"):
        load("--config", str(broken))
    with pytest.raises(SettingError, match=r"missing\.toml cannot be read"):
        load("--config", str(tmp_path / "missing.toml"))


@pytest.mark.parametrize(
    ("argv", "env", "sentence"),
    [
        (["--lisen", "x"], {}, "flag --lisen is not known; did you mean --listen?"),
        (["--etcd-pasword=hush"], {}, "flag --etcd-pasword is not known"),
        (["serve"], {}, "argument serve is not known"),
        (["--max-sess", "3"], {}, "flag --max-sess is not known"),
        (["--max-sessions"], {}, "--max-sessions: expected one argument"),
        (["--max-sessions", "many"], {}, "flag --max-sessions: expected a whole number"),
        (["--max-sessions", "0"], {}, "flag --max-sessions: must be at least 1, is 0"),
        (["--max-sessions", "1", "--max-sessions", "2"], {}, "is given more than once"),
        (["--transaction-proposals", "121"], {}, "must be at most 120, is 121"),
        (["--log-level", "loud"], {}, "expected one of debug, info, warning, error"),
        (["--default-ttl", "10 apples"], {}, "expected a duration such as 10s"),
        (["--default-ttl", "1s"], {}, "flag --default-ttl: must not be below --min-ttl"),
        (["--tls-cert", "/nowhere"], {}, "flag --tls-cert: there is no file '/nowhere'"),
        (["--tls-key", __file__], {}, "flag --tls-key: needs --tls-cert"),
        (["--etcd-prefix", "locks"], {}, "must start and end with /"),
        (["--etcd-user", "me"], {}, "flag --etcd-user: needs --etcd-password-file"),
        (["--etcd-endpoints", "https://a:1,b:2"], {}, "all must be https:// or none"),
        (["--dev", "--etcd-endpoints", "a:1"], {}, "cannot be given together with --dev"),
        (["--data-dir", "x"], {}, "flag --data-dir: needs --dev"),
        ([], {"LOCKSTREAM_LISEN": "x"}, "environment variable LOCKSTREAM_LISEN is not known"),
        ([], {"LOCKSTREAM_DEV": "perhaps"}, "LOCKSTREAM_DEV: expected true or false"),
        (["--max-sessions", "3"], {"LOCKSTREAM_MAX_SESSIONS": "x"}, "variable LOCKSTREAM_MAX_SE"),
    ],
)
def test_what_is_not_understood_is_named(argv: list[str], env: dict[str, str], sentence: str) -> None:
    with pytest.raises(SettingError) as refused:
        load(*argv, env=env)
    assert sentence in str(refused.value)
    assert "hush" not in str(refused.value)


def test_no_server_takes_smaller_messages_than_clients_may_send() -> None:
    """Such a frame would end the stream after every resume again."""
    assert load("--max-message-bytes", str(MAX_FRAME_BYTES)).max_message_bytes == MAX_FRAME_BYTES
    with pytest.raises(SettingError, match="flag --max-message-bytes: must be at least"):
        load("--max-message-bytes", str(MAX_FRAME_BYTES - 1))


@pytest.mark.parametrize("address", ["127.0.0.1:7420", "localhost:0", "[::1]:7420", "unix:/run/lockstream.sock"])
def test_an_address_to_listen_on(address: str) -> None:
    assert load("--listen", address).listen == (address,)


@pytest.mark.parametrize(
    "address",
    ["localhost", ":7420", "a:b", "::1:7420", "a:70000", "unix:rel", "u@a:1", "a:1/x", "", "a:1,"],
)
def test_not_an_address_to_listen_on(address: str) -> None:
    with pytest.raises(SettingError, match="flag --listen"):
        load("--listen", address)


def test_lists_are_separated_by_commas_or_repeated() -> None:
    assert load("--listen", "a:1, b:2", "--listen", "c:3").listen == ("a:1", "b:2", "c:3")


def test_endpoints_with_a_scheme() -> None:
    settings = load(env={"LOCKSTREAM_ETCD_ENDPOINTS": "https://a:2379,https://[::1]:2379/"})
    assert settings.etcd_targets == ("a:2379", "[::1]:2379")
    assert settings.etcd_tls
    with pytest.raises(SettingError, match="expected http:// or https://"):
        load("--etcd-endpoints", "ftp://a:1")


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1.5", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "-1s", "1d", "nan", "inf", "1 s", "s"])
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


def test_settings_made_in_code_are_checked_too() -> None:
    with pytest.raises(SettingError, match="max_sessions: must be at least 1"):
        Settings(max_sessions=0)
    with pytest.raises(SettingError, match="must not be empty"):
        Settings(etcd_endpoints=())
    with pytest.raises(SettingError, match="must be finite"):
        Settings(max_ttl=float("inf"))


def test_every_setting_has_its_flag_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load("--help")
    text = " ".join(capsys.readouterr().out.split())
    for option in options_of(Settings).values():
        assert option.flag in text
        assert option.help.split()[0] in text
        if option.at_least is not None or option.at_most is not None:
            assert option.unit, f"{option.name} has bounds of an unknown unit"


def test_the_printed_config_is_one_that_can_be_read(tmp_path: Path) -> None:
    settings = load("--listen", "a:1,unix:/x", "--max-lag", "1.5", "--server-name", 'ä"\\')
    file = tmp_path / "server.toml"
    file.write_text(to_toml(settings), encoding="utf-8")
    assert load("--config", str(file)) == settings


def test_the_printed_config_hides_secrets() -> None:
    settings = Settings(etcd_user="me", etcd_password="hush")  # noqa: S106 - made up
    printed = to_toml(settings)
    assert "hush" not in printed
    assert tomllib.loads(printed)["etcd_password"] == "********"  # noqa: S105 - the mask


def test_the_password_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hush\n")
    settings = load("--etcd-user", "me", "--etcd-password-file", str(file))
    assert settings.read_etcd_password() == "hush"
    assert dataclasses.replace(settings).read_etcd_password() == "hush"


def test_the_program_stops_with_one_sentence_and_2() -> None:
    done = run("--max-lag", "0")
    assert done.returncode == 2
    assert done.stderr == "lockstreamd: flag --max-lag: must be at least 500ms, is 0s\n"
    assert done.stdout == ""


def test_the_program_prints_its_config_and_its_version() -> None:
    done = run("--print-config", env={"LOCKSTREAM_MAX_SESSIONS": "5"})
    assert done.returncode == 0
    assert tomllib.loads(done.stdout)["max_sessions"] == 5
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("lockstreamd ")
