"""The base of all sections of params.yaml: strict, frozen, with errors of one sentence.

A section is a pydantic model and the single definition of its hyperparameters: it validates
params.yaml, and the command line options (`tinyllm.base.command`), the MLflow parameters and
docs/parameters.md follow from it.
"""

import difflib
import reprlib
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo

from tinyllm.base.errors import ConfigError


class Section(BaseModel):
    """One section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    section: ClassVar[str]
    """The section's key in params.yaml."""
    affects_outputs: ClassVar[bool] = True
    """False if the section never changes a byte of what a stage writes."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_as_people_write(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept `1e-3` and `1e4` in any spelling, and reject `true` for a number.

        YAML 1.1 reads `1e-3` as a string, and pydantic reads `true` as 1. No name, path or codec
        can hold the NUL character.
        """
        kind = field_type(cls, str(info.field_name))
        if kind is str and isinstance(value, str) and "\0" in value:
            raise ValueError("must not hold the NUL character")
        if kind not in (int, float):
            return value
        if isinstance(value, bool):
            raise ValueError("expected a number, not true or false")  # noqa: TRY004 - pydantic's way
        if isinstance(value, str):
            try:
                value = float(value) if kind is float or not _is_int(value) else int(value)
            except ValueError:
                raise ValueError("expected a number") from None
        return value

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None, where: str = "") -> Self:
        """Build the section from a mapping of field names to values.

        Args:
            values: from the file or the command line; missing keys take their defaults.
            where: the file that the values come from, for the error message.

        Raises:
            ConfigError: a key is unknown, or a value has the wrong type or is out of range; the
                message names every fault.
        """
        if values is not None and not isinstance(values, Mapping):
            raise ConfigError(f"{cls.section}{_in(where)} must be a mapping of parameters.")
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            faults = [cls._explain(details) for details in error.errors()]
            raise ConfigError("; ".join(faults) + f"{_in(where)}.") from None

    @classmethod
    def check_value(cls, name: str, value: Any) -> None:
        """Check the value of one parameter, regardless of the others.

        Raises:
            ConfigError: it has the wrong type or is out of range.
        """
        try:
            cls.model_validate({name: value})
        except ValidationError as error:
            faults = [cls._explain(details) for details in error.errors() if details["loc"]]
            if faults:
                raise ConfigError("; ".join(faults) + ".") from None

    @classmethod
    def _explain(cls, details: ErrorDetails) -> str:
        key = ".".join(str(part) for part in details["loc"])
        name = f"{cls.section}.{key}" if key else cls.section
        if details["type"] == "extra_forbidden":
            close = difflib.get_close_matches(key, cls.model_fields, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(cls.model_fields)}"
            return f"{name} is not a known parameter ({hint})"
        message = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
        return (
            f"{name}: {message}, got {reprlib.repr(details['input'])}"
            if key
            else f"{name}: {message}"
        )


def field_type(section: type[Section], name: str) -> Any:
    """The plain type of a field: `int` for `int | None` and for constrained integers."""
    annotation = section.model_fields[name].annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _is_int(text: str) -> bool:
    return text.strip().lstrip("+-").isdigit()


def _in(where: str) -> str:
    return f" in {where}" if where else ""
