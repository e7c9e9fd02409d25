"""Settings of a program from flags, environment, a TOML file and defaults.

A settings class is a frozen dataclass whose every field is made with `option`. From that one
declaration come the flag (`--some-name`), the environment variable (`PREFIX_SOME_NAME`), the key in
the file (`some_name`), the help and the checks. A flag beats the environment, the environment beats
the file, the file beats the default. Whatever is not understood is an error that names its source.

A field's type decides how its text is read: `bool`, `int`, `str`, `Path`, a `Literal` of words,
`tuple[str, ...]` for a list (commas between the items), `float` for a duration in seconds.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

T = TypeVar("T")

_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|m|h)?", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class SettingError(ValueError):
    """A setting that cannot be used. `name` is the field it is about, if it is about one."""

    def __init__(self, problem: str, name: str | None = None) -> None:
        super().__init__(f"{name}: {problem}" if name else problem)
        self.problem = problem
        self.name = name


@dataclass(frozen=True, slots=True)
class Kind:
    """How values of one type are read and written."""

    metavar: str
    parse: Callable[[str], object]
    """From text; ValueError with the second half of a sentence when it makes no sense."""
    toml_type: str
    """What the file may hold, in words."""
    from_toml: Callable[[object], object]
    """From a TOML value; TypeError when it is of another type."""


@dataclass(frozen=True, slots=True)
class Option:
    """The declaration of one setting, as `options_of` finds it."""

    name: str
    kind: Kind
    default: object
    section: str
    help: str
    unit: str
    at_least: float | None
    at_most: float | None
    check: Callable[[str], object] | None
    secret: bool

    @property
    def flag(self) -> str:
        """The flag, with its dashes."""
        return "--" + self.name.replace("_", "-")

    def validate(self, value: object) -> None:
        """Raise `SettingError` when `value` is out of bounds or fails the declared check."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._validate_bounds(value)
        if value == ():
            raise SettingError("must not be empty", self.name)
        if self.check is None or value is None:
            return
        for item in value if isinstance(value, tuple) else (value,):
            try:
                self.check(str(item))
            except ValueError as error:
                raise SettingError(str(error), self.name) from None

    def _validate_bounds(self, value: int | float) -> None:
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingError("must be finite", self.name)
        for wrong, bound, words in (
            (self.at_least is not None and value < self.at_least, self.at_least, "at least"),
            (self.at_most is not None and value > self.at_most, self.at_most, "at most"),
        ):
            if wrong:
                raise SettingError(f"must be {words} {self.show(bound)}, is {self.show(value)}", self.name)

    def show(self, value: object) -> str:
        """A value for people, in the form a flag takes."""
        match value:
            case bool():
                return str(value).lower()
            case int() | float() if self.kind is _DURATION_KIND:
                return format_duration(value)
            case tuple():
                return ",".join(value)
            case _:
                return str(value)

    def to_toml(self, value: object) -> str:
        """One line of TOML; a secret is masked, an absent value is a comment."""
        if value is None:
            return f"# {self.name} is not set"
        if self.secret:
            return f'{self.name} = "********"'
        if isinstance(value, float):
            value = format_duration(value)
        if isinstance(value, Path):
            value = str(value)
        # JSON's strings, numbers, booleans and lists are TOML's.
        return f"{self.name} = {json.dumps(value, ensure_ascii=False)}"


def option(
    default: T,
    section: str,
    text: str,
    *,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    check: Callable[[str], object] | None = None,
    secret: bool = False,
) -> T:
    """Declare one field of a settings class.

    Args:
        default: its value when nobody says otherwise; a function is called to make it.
        section: the heading it stands under in the help.
        text: one line for the help.
        unit: what a plain number counts.
        at_least: lower bound, inclusive.
        at_most: upper bound, inclusive.
        check: called with the text (of each item of a list); raises ValueError with the problem.
        secret: never print the value.
    """
    metadata = {
        "section": section,
        "help": text,
        "unit": unit,
        "at_least": at_least,
        "at_most": at_most,
        "check": check,
        "secret": secret,
    }
    if callable(default):
        return cast("T", field(default_factory=default, metadata=metadata))
    return field(default=default, metadata=metadata)


def options_of(settings_class: type[Any]) -> dict[str, Option]:
    """The declarations of a settings class by field name, in their order."""
    return {
        each.name: Option(
            name=each.name,
            kind=_kind_of(each.type),
            default=each.default if each.default_factory is MISSING else each.default_factory(),
            **each.metadata,
        )
        for each in fields(settings_class)
    }


def parse_duration(text: str) -> float:
    """Seconds from `500ms`, `10s`, `2m`, `1h` or plain seconds; ValueError for anything else."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a duration such as 10s, 500ms or 2m, got {text!r}")
    return float(found[1]) * _SECONDS[found[2] or "s"]


def format_duration(seconds: float) -> str:
    """The shortest exact form that `parse_duration` reads back: 0.5 is `500ms`, 600 is `10m`."""
    if seconds == 0:
        return "0s"
    for unit in ("h", "m", "s"):
        count = seconds / _SECONDS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    milliseconds = seconds * 1000
    # Decimal, because the shortest form of a small float has an exponent.
    return f"{int(milliseconds)}ms" if milliseconds == int(milliseconds) else f"{Decimal(repr(seconds)):f}s"


def _parse_bool(text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"expected true or false, got {text!r}") from None


def _parse_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"expected a whole number, got {text!r}") from None


def _parse_text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _parse_list(text: str) -> tuple[str, ...]:
    items = tuple(item.strip() for item in text.split(","))
    if not all(items):
        raise ValueError(f"expected items with commas between them, got {text!r}")
    return items


def _exactly(kind: type) -> Callable[[object], object]:
    def read(value: object) -> object:
        if type(value) is not kind:  # not isinstance: a bool is an int to it
            raise TypeError
        return value

    return read


def _text_or(parse: Callable[[str], object], other: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: parse(value) if isinstance(value, str) else other(value)


def _number(value: object) -> float:
    if type(value) not in {int, float}:
        raise TypeError
    return float(cast("float", value))


def _items(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError
    return tuple(_parse_text(item) for item in value)


def _parse_path(text: str) -> Path:
    return Path(_parse_text(text))


_DURATION_KIND = Kind("DURATION", parse_duration, "a duration", _text_or(parse_duration, _number))
_KINDS: dict[object, Kind] = {
    bool: Kind("", _parse_bool, "true or false", _exactly(bool)),
    int: Kind("N", _parse_int, "a whole number", _exactly(int)),
    float: _DURATION_KIND,
    str: Kind("TEXT", _parse_text, "text", _text_or(_parse_text, _exactly(str))),
    Path: Kind("PATH", _parse_path, "a path", _text_or(_parse_path, _exactly(str))),
    tuple[str, ...]: Kind("LIST", _parse_list, "a list of texts", _text_or(_parse_list, _items)),
}
_KINDS |= {str | None: _KINDS[str], Path | None: _KINDS[Path]}


def _kind_of(annotation: object) -> Kind:
    if get_origin(annotation) is not Literal:
        return _KINDS[annotation]
    words: tuple[str, ...] = get_args(annotation)

    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected one of {', '.join(words)}, got {text!r}")
        return text

    return Kind("|".join(words), parse, "text", _text_or(parse, _exactly(str)))
