"""Commands, with options generated from the config classes.

A stage is a click command; `tinyllm NAME` and the script in `stages/` call the same one.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from annotated_types import Ge, Gt, Le, Lt

from tinyllm.base.barrier import Guarded, barrier, guarded
from tinyllm.base.events import find_watcher, unwatched
from tinyllm.base.params_file import read_params
from tinyllm.base.section import Section, field_type
from tinyllm.base.streams import forgive_output

Function = TypeVar("Function", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)


class Command(Guarded):
    """A command whose result is what it prints."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections: tuple[type[Section], ...] = getattr(self.callback, "sections", ())

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        with barrier(context.command_path):
            if watcher := find_watcher():
                watcher.prepare_process()
            return super().invoke(context)


class WorkCommand(Command):
    """A command whose result stays: not being able to print a line about it is no failure."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        forgive_output()
        return super().invoke(context)


def run_stage(command: click.Command, paths: Mapping[str, str]) -> None:
    """Call a stage's command with its sections of params.yaml as options.

    Args:
        command: a `Command`.
        paths: its path options, by flag.
    """
    assert isinstance(command, Command)  # noqa: S101 - for the type checker
    file = Path("params.yaml")
    arguments = [argument for flag, path in paths.items() for argument in (flag, path)]
    with guarded(f"tinyllm {command.name}"):
        if watcher := find_watcher():
            watcher.check_params(file, str(command.name))
        params = read_params(file)
        for section in command.sections:
            arguments += section_arguments(section.parse(params.get(section.section), str(file)))
    command.main(arguments, prog_name=f"tinyllm {command.name}")


def section_options(*sections: type[Section]) -> Callable[[Function], Function]:
    """Give a command an option for each field of the sections.

    The command receives each section, validated, as an argument named after it. Only the section
    checks ranges and types, so flags and params.yaml get the same error messages.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            parsed = [_take_section(section, values) for section in sections]
            values |= {section.section: section for section in parsed}
            return function(**values)

        return _with_options(command, sections, getattr(function, "sections", ()))  # type: ignore[return-value]  # click's decorators return what they decorate

    return decorate


def watched(function: Function) -> Function:
    """Pass a command `watch`, which opens a run for the watcher, and add the watcher's options."""
    watcher = find_watcher()
    sections = tuple(watcher.SECTIONS) if watcher else ()

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        parsed = [_take_section(section, values) for section in sections]
        watch = functools.partial(watcher.watch, parsed) if watcher else unwatched
        return function(**values, watch=watch)

    return _with_options(command, sections, ())  # type: ignore[return-value]  # click's decorators return what they decorate


def section_arguments(section: Section) -> list[str]:
    """The flags that pass this section to a command."""
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
    """The range of a field, such as `> 0, <= 1`, or its choices."""
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


def _take_section(section: type[Section], values: dict[str, Any]) -> Section:
    own = {name: values.pop(name) for name in section.model_fields}
    return section.parse({name: value for name, value in own.items() if value not in (None, ())})


def _with_options(
    command: Callable[..., Any],
    sections: tuple[type[Section], ...],
    others: tuple[type[Section], ...],
) -> Callable[..., Any]:
    for section in reversed(sections):
        for name in reversed(section.model_fields):
            command = _option(section, name)(command)
    command.sections = (*sections, *others)  # type: ignore[attr-defined]  # for whoever reads a command's options
    return command


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
