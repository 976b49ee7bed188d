"""Command line options made from the configuration classes."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt

from tinyllm.config.base import Section, field_type
from tinyllm.errors import TinyLLMError
from tinyllm.logger import setup_logger
from tinyllm.redaction import hide_in_tracebacks, take_password_from_url, without_secrets

Function = TypeVar("Function", bound=Callable[..., Any])

INPUT_FOLDER = click.Path(file_okay=False, path_type=Path)
OUTPUT_FOLDER = click.Path(file_okay=False, path_type=Path)


def section_options(*sections: type[Section]) -> Callable[[Function], Function]:
    """Give a command an option for each field of the sections.

    The command receives each section, validated, as an argument of the section's name. Ranges
    and types are checked by the section alone, so that a flag and params.yaml are refused with
    the same sentence.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            for section in sections:
                own = {name: values.pop(name) for name in section.model_fields}
                given = {name: value for name, value in own.items() if value not in (None, ())}
                values[section.section] = section.parse(given)
            return function(**values)

        for section in reversed(sections):
            for name in reversed(section.model_fields):
                command = _option(section, name)(command)
        return command  # type: ignore[return-value]

    return decorate


def section_arguments(section: Section) -> list[str]:
    """The flags that give a command this very section."""
    arguments: list[str] = []
    for name, value in section.model_dump().items():
        flag = _flag(name)
        if isinstance(value, bool):
            arguments.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, list):
            arguments.extend(f"{flag}={item}" for item in value)
        else:
            arguments.append(f"{flag}={value}")
    return arguments


def describe_range(section: type[Section], name: str) -> str:
    """What a field may hold, in signs: `> 0, <= 1`, or the choices of a closed list."""
    kind = field_type(section, name)
    if get_origin(kind) is Literal:
        return ", ".join(str(choice) for choice in get_args(kind))
    signs = ((Ge, ">=", "ge"), (Gt, ">", "gt"), (Le, "<=", "le"), (Lt, "<", "lt"))
    return ", ".join(
        f"{sign} {getattr(rule, bound)}"
        for rule in section.model_fields[name].metadata
        for kind, sign, bound in signs
        if isinstance(rule, kind)
    )


class Command(click.Command):
    """A command that reports a `TinyLLMError` as one sentence and exits with its code."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {"help_option_names": ["-h", "--help"]})
        super().__init__(*args, **kwargs)

    def invoke(self, context: click.Context) -> Any:
        """Run the command behind the logger and the error barrier."""
        setup_logger()
        hide_in_tracebacks()
        take_password_from_url()
        try:
            return super().invoke(context)
        except TinyLLMError as error:
            click.secho(f"Error: {without_secrets(str(error))}", fg="red", err=True)
            raise SystemExit(error.exit_code) from None


def _option(section: type[Section], name: str) -> Callable[[Function], Function]:
    info = section.model_fields[name]
    kind = field_type(section, name)
    limits = describe_range(section, name)
    bounds = f" ({limits})" if limits else ""
    text = f"{info.description}{bounds} [default: {_shown(info.default)}]"
    if kind is bool:
        flag = _flag(name)
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if get_origin(kind) is list:
        return click.option(_flag(name), name, multiple=True, help=f"{text} (repeatable)")
    if get_origin(kind) is Literal:
        choices = [str(choice) for choice in get_args(kind)]
        return click.option(_flag(name), name, metavar="|".join(choices), help=text)
    metavar = {int: "INTEGER", float: "NUMBER"}.get(kind, "TEXT")
    return click.option(_flag(name), name, metavar=metavar, help=text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, list):
        return ", ".join(repr(item) for item in default)
    return repr(default) if isinstance(default, str) else str(default)
