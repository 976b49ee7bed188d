"""Search spaces such as `train.learning_rate=log(0.003,0.3)`, checked by the config classes."""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tinyllm.app.params import SECTIONS
from tinyllm.base.errors import ConfigError
from tinyllm.base.section import field_type

# losses on other texts or of other tokens cannot be compared
SWEPT = ("model", "train")
_FORMS = "log(LOW,HIGH), uniform(LOW,HIGH), uniform(LOW,HIGH,STEP) or [A,B,C]"
_DIGITS = 4
_MISSING = "???"
_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_WORDS_OF_HYDRA = {"null", "true", "false", "nan", "inf"}


@dataclass(frozen=True)
class Axis:
    """One parameter and its choices or range."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    integer: bool = False

    def draw(self, trial: Any) -> Any:
        """Draw a value with an Optuna trial; floats are rounded to a few digits."""
        if self.choices:
            return trial.suggest_categorical(self.key, list(self.choices))
        if self.integer:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(self.key, low, high, log=self.log, step=step)
        drawn = trial.suggest_float(self.key, self.low, self.high, log=self.log, step=self.step)
        return min(max(float(f"{drawn:.{_DIGITS}g}"), self.low), self.high)


def parse_axis(text: str) -> Axis:
    """Read `SECTION.PARAMETER=SPACE`.

    Raises:
        ConfigError: the parameter is unknown, or the space does not fit it.
    """
    key, equals, expression = (part.strip() for part in text.partition("="))
    if not equals or not expression:
        raise ConfigError(f"{text!r} is no search space; write PARAMETER={_FORMS}.")
    _check_key(key)
    if expression.startswith("["):
        axis = Axis(key, choices=_choices(key, expression))
    else:
        axis = _range(key, expression)
    for value in axis.choices or (axis.low, axis.high):
        _check_value(key, int(value) if axis.integer else value)
    return axis


def parse_space(texts: Sequence[str]) -> list[Axis]:
    """Read several axes.

    Raises:
        ConfigError: one is not valid, or a parameter is named twice.
    """
    axes = [parse_axis(text) for text in texts]
    keys = [axis.key for axis in axes]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ConfigError(f"{', '.join(twice)} is given more than one search space.")
    return axes


def check_point(params: dict[str, dict[str, Any]], point: dict[str, Any]) -> None:
    """Check a point of the space together with all other parameters.

    Raises:
        ConfigError: they do not fit together, such as a width that the heads do not divide.
    """
    for section in {key.partition(".")[0] for key in point}:
        own = {k.partition(".")[2]: v for k, v in point.items() if k.startswith(f"{section}.")}
        SECTIONS[section].parse({**params.get(section, {}), **own})


def override(key: str, value: Any) -> str:
    """A parameter as `dvc exp run -S` takes it, whether or not it is in params.yaml.

    DVC reads it with Hydra's grammar, so texts are quoted unless they are plain words.

    Raises:
        ConfigError: it is `???`, which OmegaConf reads as a value that is still missing.
    """
    return f"++{key}={_in_hydra(value)}"


def _in_hydra(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_in_hydra, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return "null" if value is None else repr(value)
    if _PLAIN_WORD.fullmatch(value) and value.lower() not in _WORDS_OF_HYDRA:
        return value
    if value == _MISSING:
        raise ConfigError(f"DVC cannot pass on the value {value!r}, which it reads as missing.")
    # OmegaConf looks for ${...} also in quoted texts, and Hydra ends them at a quote; backslashes
    # count as themselves but before these
    text = re.sub(r"(\\*+)\$\{", lambda found: f"{found[1] * 2}\\${{", value)
    text = re.sub(r"(\\*+)'", lambda found: f"{found[1] * 2}\\'", text)
    text = re.sub(r"(?<!\\)(\\++)$(?!\n)", lambda found: found[1] * 2, text)
    return f"'{text}'"


def _check_key(key: str) -> None:
    section = key.partition(".")[0]
    if key == "train.seed":
        raise ConfigError("The best seed is luck; 'tinyllm repeat' runs several seeds instead.")
    if section in SECTIONS and section not in SWEPT:
        raise ConfigError(
            f"{key}: only {' and '.join(SWEPT)} can be swept; with other {section} parameters the "
            f"validation losses are of other texts or do not change."
        )
    known = [f"{of}.{field}" for of in SWEPT for field in SECTIONS[of].model_fields]
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ConfigError(f"{key} is not a known parameter{hint}")


def _choices(key: str, expression: str) -> tuple[Any, ...]:
    try:
        values = yaml.safe_load(expression)
    # a strange text makes PyYAML raise anything, an IndexError for `!!int`
    except Exception:
        values = None
    plain = isinstance(values, list) and all(isinstance(v, str | int | float) for v in values)
    if not values or not plain:
        raise ConfigError(f"{key}: {expression!r} is no list of choices such as [2,4,6].")
    return tuple(values)


def _range(key: str, expression: str) -> Axis:
    section, _, name = key.partition(".")
    kind = field_type(SECTIONS[section], name)
    found = re.fullmatch(r"(log|uniform)\(([^,()]+),([^,()]+)(?:,([^,()]+))?\)", expression)
    if not found:
        raise ConfigError(f"{key}: {expression!r} is no search space; write {_FORMS}.")
    if kind not in (int, float):
        raise ConfigError(f"{key} is not a number; list its choices: {key}=[A,B].")
    form, *texts = found.groups()
    try:
        low, high, step = (None if text is None else float(text) for text in texts)
    except ValueError:
        raise ConfigError(f"{key}: the bounds in {expression!r} must be numbers.") from None
    if not all(math.isfinite(bound) for bound in (low, high, step) if bound is not None):
        raise ConfigError(f"{key}: the bounds in {expression!r} must be finite.")
    assert low is not None  # noqa: S101 - the pattern demands both
    assert high is not None  # noqa: S101 - as above
    if low >= high:
        raise ConfigError(f"{key}: {low:g} is not less than {high:g}.")
    if form == "log" and (step is not None or low <= 0):
        raise ConfigError(f"{key}: log(LOW,HIGH) takes two bounds above 0.")
    if step is not None and step <= 0:
        raise ConfigError(f"{key}: the step must be above 0.")
    integer = kind is int
    if integer and any(n is not None and n != int(n) for n in (low, high, step)):
        raise ConfigError(f"{key} is a whole number; so must be its bounds in {expression!r}.")
    return Axis(key, low=low, high=high, log=form == "log", step=step, integer=integer)


def _check_value(key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    SECTIONS[section].check_value(name, value)
