"""Connection strings and options of the client: any text is a target, or a sentence names what is wrong with it."""

import math
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

import lockstream
from lockstream import _dsn
from lockstream._connect import resolve
from lockstream._dsn import Target
from lockstream._options import DURATIONS, OPTION_NAMES, TLS_OPTIONS, Options

HOSTS = st.sampled_from(("a", "b.example", "127.0.0.1", "[::1]", "[fe80::1%eth0]", "_x-1.", "A"))
ENDPOINTS = st.one_of(HOSTS, st.builds("{}:{}".format, HOSTS, st.integers(1, 65535)), st.just("unix:/run/l.sock"))
SECONDS = st.sampled_from(("10s", "500ms", "2m", "0.5s"))
PARTS = st.one_of(
    ENDPOINTS,
    HOSTS,
    SECONDS,
    st.sampled_from(sorted(OPTION_NAMES)),
    st.sampled_from(
        (*"?&=,:/@#%[]+-. \t\n\0", "://", "lockstream", "lockstreams", "unix:", "local:", "%FF", "%20", "http")
    ),
    st.sampled_from(("0", "7420", "65536", "-1", "1e9", "9" * 400 + "s", "٣", "²", "nan", "inf", "１")),
    st.text(max_size=3),
)
OPTIONS = st.dictionaries(st.sampled_from(sorted(OPTION_NAMES - TLS_OPTIONS)), st.none(), max_size=4)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.floats(),
    st.integers(),
    st.just(10**400),
    st.just([]),
)


def assert_sensible(target: Target) -> None:
    """What was understood can be used."""
    assert target.local or all(target.endpoints)
    assert target.tls or not TLS_OPTIONS & target.options.keys()
    assert all(isinstance(value, float) == (name in DURATIONS) for name, value in target.options.items())
    # Said once more by what was understood of it, it means the same.
    for endpoint in target.endpoints:
        assert _dsn.parse(endpoint).endpoints == (endpoint,)


def understood(text: str, options: Mapping[str, Any]) -> tuple[Target, Options] | str:
    """What was understood, or the sentence with which it was refused."""
    try:
        return resolve(text, options)  # type: ignore[arg-type]  # options of any name and type are the subject
    except lockstream.ConfigError as error:
        return str(error) or "no sentence"


@given(st.lists(PARTS, max_size=12).map("".join))
@example("lockstream://a?ttl=" + "9" * 400 + "s")
@example("a:" + "1" * 5_000)
@example("\ud800")
def test_any_text_is_a_target_or_refused(text: str) -> None:
    match understood(text, {}):
        case str(sentence):
            assert sentence != "no sentence"
            assert "\n" not in sentence
        case target, options:
            assert_sensible(target)
            assert all(getattr(options, name) is None or math.isfinite(getattr(options, name)) for name in DURATIONS)


@given(st.lists(ENDPOINTS, min_size=1, max_size=3), st.booleans(), OPTIONS, st.data())
def test_what_was_put_together_well_comes_back(
    endpoints: list[str], tls: bool, names: dict[str, None], data: st.DataObject
) -> None:
    given_options = {
        name: data.draw(SECONDS if name in DURATIONS else st.sampled_from(("me", "a%20b")), label=name)
        for name in names
    }
    query = "&".join(f"{name}={value}" for name, value in given_options.items())
    text = f"lockstream{'s' if tls else ''}://{','.join(endpoints)}{'?' if query else ''}{query}"
    target = _dsn.parse(text)
    assert (target.tls, target.local) == (tls, False)
    assert len(target.endpoints) == len(endpoints)
    assert target.options.keys() == given_options.keys()
    assert_sensible(target)


@given(st.dictionaries(st.sampled_from(sorted(OPTION_NAMES)) | st.text(max_size=4), VALUES, max_size=4))
def test_any_options_beside_it_are_taken_or_refused_by_name(options: dict[str, Any]) -> None:
    match understood("lockstreams://a", options):
        case str(sentence):
            assert any(repr(name) in sentence for name in options), sentence
        case _, chosen:
            assert all(getattr(chosen, name) == value or name == "name" for name, value in options.items())


@given(
    st.sampled_from(sorted(DURATIONS)),
    st.text(max_size=6) | st.builds("{}{}".format, st.floats() | st.integers(), st.sampled_from(("", "s", "ms", "m"))),
)
def test_any_duration_is_read_or_refused_by_the_name_of_its_option(name: str, text: str) -> None:
    assume("&" not in text)
    match understood(f"lockstream://a?{name}={text}", {}):
        case str(sentence):
            assert name in sentence
        case _, options:
            assert math.isfinite(getattr(options, name))
