"""The settings of the server: whatever is said, by flag, environment or file, they stand, or the setting is named."""

import contextlib
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lockstream_server.addresses import check_endpoint, check_listen_address
from lockstream_server.option_sources import to_toml
from lockstream_server.options import Option, SettingError, format_duration, options_of, parse_duration
from lockstream_server.settings import Settings, load_settings

OPTIONS = options_of(Settings)
NAMES = st.sampled_from([*OPTIONS, *OPTIONS, "config", "lisen", "", "print_config"])
TEXTS = st.one_of(
    st.sampled_from(("1", "0", "-1", "2", "10s", "500ms", "2m", "1h", ".5", "1e9", "nan", "inf", "9" * 400)),
    st.sampled_from(("true", "no", "off", "info", "json", "none", "otlp", "console", "/", "/a/", "a", ",", "a,b", "")),
    st.sampled_from(("127.0.0.1:0", "[::1]:7", "unix:/x", "unix:", "a:1,b:2", "https://a:1", "http://a:1/", "a:99999")),
    st.sampled_from(
        (__file__, str(Path(__file__).parent), "/nowhere", "~", "\0", "a\0b", "k" * 300, "٣", "²", "[::1", "%")
    ),
    st.text(max_size=5),
)
TOML = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.lists(TEXTS | st.integers(0, 2), max_size=3),
)
HUSH = "t0p-s3cret"
"""A password; no message may have it."""


def sensible(option: Option) -> list[str]:
    """Texts that make sense as the value of a setting."""
    told = [option.show(each) for each in (option.default, option.at_least, option.at_most) if each is not None]
    words = option.kind.metavar.split("|") if "|" in option.kind.metavar else []
    exact = ["0.0000001", "1.234567s", "1e3"] if option.kind.metavar == "DURATION" else []
    return [*told, *words, *(text for text in exact if not refusal([], {f"LOCKSTREAM_{option.name.upper()}": text}))]


def refusal(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    """The sentence; empty if there is nothing to refuse."""
    try:
        load_settings(argv, environ, version="1")
    except SettingError as error:
        return str(error) or "no sentence"
    return ""


@given(st.lists(st.tuples(NAMES, TEXTS, st.sampled_from(("--{}={}", "--{} {}", "{}={}", "--{}", "-{}"))), max_size=4))
def test_any_command_line_is_understood_or_refused(said: list[tuple[str, str, str]]) -> None:
    argv = [part for name, text, form in said for part in form.format(name.replace("_", "-"), text).split(" ")]
    if not any(part in ("-h", "--help", "--version") for part in argv):
        sentence = refusal([*argv, f"--etcd-password={HUSH}"], {})
        assert sentence != "no sentence"
        assert HUSH not in sentence


@settings(max_examples=3 * settings().max_examples)
@given(st.sampled_from([*OPTIONS]), TEXTS)
@example("max_sessions", "1" * 5_000)
def test_any_value_is_taken_or_refused_by_the_name_of_its_setting(name: str, text: str) -> None:
    flag, variable = OPTIONS[name].flag, f"LOCKSTREAM_{name.upper()}"
    if OPTIONS[name].kind.metavar:
        sentence = refusal([f"{flag}={text}"], {})
        assert not sentence or flag in sentence
    sentence = refusal([], {variable: text})
    assert not sentence or variable in sentence or flag in sentence


@given(st.dictionaries(NAMES, TOML, min_size=1, max_size=3))
def test_any_file_is_understood_or_refused_by_its_name(values: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "server.toml"
        file.write_text(
            "".join(f"{_key(name)} = {_toml(value)}\n" for name, value in values.items()), "utf-8", "replace"
        )
        sentence = refusal(["--config", str(file)], {})
        assert not sentence or str(file) in sentence


@given(st.binary(max_size=40))
def test_any_bytes_as_a_file_are_understood_or_refused_by_its_name(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "server.toml"
        file.write_bytes(content)
        sentence = refusal(["--config", str(file)], {})
        assert not sentence or str(file) in sentence


@given(st.dictionaries(st.sampled_from([*OPTIONS]), st.integers(0, 99), max_size=5))
def test_what_is_printed_is_read_again_as_it_was(said: dict[str, int]) -> None:
    environ = {
        f"LOCKSTREAM_{name.upper()}": texts[pick % len(texts)]
        for name, pick in said.items()
        if (texts := sensible(OPTIONS[name]))
    }
    assume(not refusal([], environ))  # one does not go with another
    understood = load_settings([], environ, version="1")
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "server.toml"
        file.write_text(to_toml(understood.settings), encoding="utf-8")
        again = load_settings(["--config", str(file)], {}, version="1").settings
    assert again == understood.settings


@given(st.floats(min_value=0, allow_infinity=False) | st.floats(0, 4_000_000))
def test_a_duration_is_read_as_it_was_written(seconds: float) -> None:
    assert math.isclose(parse_duration(format_duration(seconds)), seconds)


@given(TEXTS, st.sampled_from((check_listen_address, check_endpoint)))
def test_any_text_is_an_address_or_refused_with_what_was_expected(text: str, check: Callable[[str], None]) -> None:
    with contextlib.suppress(ValueError):
        check(text)
        assert ":" in text


def _key(name: str) -> str:
    return name or '""'


def _toml(value: object) -> str:
    match value:
        case str():
            return (
                '"' + "".join(f"\\U{ord(letter):08x}" for letter in value if not 0xD800 <= ord(letter) < 0xE000) + '"'
            )
        case bool():
            return str(value).lower()
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case float():
            return repr(value)
        case _:
            return str(value)
