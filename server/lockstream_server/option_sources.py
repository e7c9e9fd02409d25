"""Reading declared options from a command line, an environment and a TOML file; and their help."""

import argparse
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Generic, NoReturn, TypeVar

from lockstream_server.options import Option, SettingError, options_of

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class CommandLine(Generic[S]):
    """What a program was started with."""

    settings: S
    print_config: bool
    """`--print-config`: show the settings instead of doing the work."""


@dataclass(slots=True)
class _Values:
    """Values read so far and where each came from; a later source overrides an earlier one."""

    values: dict[str, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def read(self, option: Option, source: str, read: Callable[[], object]) -> None:
        """Take a value and validate it at once, so that an overridden mistake is told as well."""
        try:
            value = read()
            option.validate(value)
        except SettingError as error:
            raise SettingError(f"{source}: {error.problem}") from None
        except TypeError:
            raise SettingError(f"{source}: expected {option.kind.toml_type}") from None
        except ValueError as error:
            raise SettingError(f"{source}: {error}") from None
        self.values[option.name] = value
        self.sources[option.name] = source


def load(
    settings_class: type[S],
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    prog: str,
    prefix: str,
    version: str,
    description: str,
    foreign: frozenset[str] = frozenset(),
) -> CommandLine[S]:
    """The settings a program was started with. `--help` and `--version` print and exit.

    Args:
        settings_class: a dataclass made with `options.option`.
        argv: the arguments, without the program's name.
        environ: the environment.
        prog: the program's name.
        prefix: what its environment variables begin with, for instance `LOCKSTREAM_`.
        version: what `--version` prints.
        description: the first lines of the help.
        foreign: variables with that prefix which are none of this program's business.

    Raises:
        SettingError: something is not understood; the message is a sentence that names it.
    """
    options = options_of(settings_class)
    flags, unknown = _parser(options, prog, prefix, version, description).parse_known_args(argv)
    if unknown:
        known = [option.flag for option in options.values()]
        name = unknown[0].partition("=")[0]  # what follows may be secret
        what = "flag" if name.startswith("-") else "argument"
        raise SettingError(f"{what} {name} is not known{_hint(name, known)}")
    given = vars(flags)
    variables = {name: text for name, text in environ.items() if name.startswith(prefix) and name not in foreign}
    config = variables.pop(f"{prefix}CONFIG", None)
    config = given.pop("config", config)
    print_config = given.pop("print_config", False)

    result = _Values()
    if config is not None:
        _read_file(Path(config), options, result)
    _read_environment(variables, prefix, options, result)
    for name, value in given.items():
        option = options[name]
        result.read(option, f"flag {option.flag}", partial(_from_flag, option, value))
    try:
        settings = settings_class(**result.values)
    except SettingError as error:
        source = result.sources.get(error.name or "", error.name)
        raise SettingError(f"{source}: {error.problem}") from None
    return CommandLine(settings, print_config)


def to_toml(settings: object) -> str:
    """The settings as a file that `--config` reads; secrets are masked."""
    lines: list[str] = []
    section = ""
    for name, option in options_of(type(settings)).items():
        if option.section != section:
            section = option.section
            lines += ["", f"# {section}"] if lines else [f"# {section}"]
        lines.append(option.to_toml(getattr(settings, name)))
    return "\n".join(lines) + "\n"


def _from_flag(option: Option, value: bool | list[str]) -> object:
    if isinstance(value, bool):
        return value
    if option.kind.metavar == "LIST":  # given several times, the lists add up
        return option.kind.parse(",".join(value))
    if len(value) > 1:
        raise ValueError("is given more than once")
    return option.kind.parse(value[0])


def _read_environment(
    variables: Mapping[str, str], prefix: str, options: Mapping[str, Option], result: _Values
) -> None:
    names = {prefix + name.upper(): option for name, option in options.items()}
    for variable, text in variables.items():
        if variable not in names:
            raise SettingError(f"environment variable {variable} is not known{_hint(variable, names)}")
        option = names[variable]
        result.read(option, f"environment variable {variable}", partial(option.kind.parse, text))


def _read_file(path: Path, options: Mapping[str, Option], result: _Values) -> None:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise SettingError(f"file {path} is not TOML: {error}") from None
    for key, value in content.items():
        if key not in options:
            raise SettingError(f"file {path}: key {key} is not known{_hint(key, options)}")
        option = options[key]
        result.read(option, f"file {path}: key {key}", partial(option.kind.from_toml, value))


def _hint(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingError(message)


def _parser(options: Mapping[str, Option], prog: str, prefix: str, version: str, description: str) -> _Parser:
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [--config FILE] [--some-name VALUE]...",
        description=description,
        epilog=f"Every flag --some-name can also be given as {prefix}SOME_NAME in the environment "
        "or as some_name in the TOML file. A flag beats the environment, the environment beats the "
        "file. A DURATION is 500ms, 10s, 2m, 1h or plain seconds; a LIST has commas between its "
        "items, or is given by repeating the flag.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"{prog} {version}")
    parser.add_argument("--config", metavar="FILE", help=f"TOML file [{prefix}CONFIG]")
    parser.add_argument("--print-config", action="store_true", help="print the settings in effect as TOML and exit")
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in options.values():
        if option.section not in groups:
            groups[option.section] = parser.add_argument_group(option.section)
        text = f"{option.help} [{_facts(option)}]".replace("%", "%%")
        if option.kind.metavar:
            groups[option.section].add_argument(
                option.flag,
                dest=option.name,
                action="append",
                metavar=option.kind.metavar,
                help=text,
            )
        else:
            groups[option.section].add_argument(
                option.flag, dest=option.name, action=argparse.BooleanOptionalAction, help=text
            )
    return parser


def _facts(option: Option) -> str:
    """Unit, default and bounds of an option, for its line of help."""
    facts = [f"unit: {option.unit}"] if option.unit else []
    facts.append(f"default: {'none' if option.default is None else option.show(option.default)}")
    if option.at_least is not None:
        facts.append(f"at least {option.show(option.at_least)}")
    if option.at_most is not None:
        facts.append(f"at most {option.show(option.at_most)}")
    return "; ".join(facts)
