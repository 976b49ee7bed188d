"""All of params.yaml: the sections of all packages, checked together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyllm.app.config import DisplayConfig, TrackingConfig
from tinyllm.base.errors import ConfigError
from tinyllm.base.params_file import parse_yaml, read_params
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.section import Section
from tinyllm.corpus.config import PrepareConfig
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.formats.config import ExportConfig
from tinyllm.inference.request import ServeConfig
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe

SECTIONS: dict[str, type[Section]] = {
    section.section: section
    for section in (
        PrepareConfig,
        TokenizeConfig,
        ModelConfig,
        TrainingConfig,
        NumericsConfig,
        EvaluateConfig,
        ExportConfig,
        RuntimeConfig,
        DisplayConfig,
        TrackingConfig,
        ServeConfig,
    )
}


def load_params(path: Path) -> dict[str, Section]:
    """Read and check every section; one that the file leaves out takes its defaults.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown section or key or a
            value out of range.
    """
    return _check(read_params(path), str(path))


def parse_params(text: str, where: str) -> dict[str, Section]:
    """Like `load_params`, but from text; errors call it `where`.

    Raises:
        ConfigError: see `load_params`.
    """
    return _check(parse_yaml(text, where), where)


def _check(raw: Mapping[Any, Any], where: str) -> dict[str, Section]:
    unknown = [str(key) for key in raw if key not in SECTIONS]
    if unknown:
        known = ", ".join(SECTIONS)
        raise ConfigError(
            f"{', '.join(unknown)} in {where} is not a known section (known: {known})."
        )
    sections = {name: cls.parse(raw.get(name), where) for name, cls in SECTIONS.items()}
    _check_together(sections, where)
    return sections


def _check_together(sections: Mapping[str, Any], where: str) -> None:
    """Check what only a later stage would find, after hours of work."""
    try:
        Recipe(sections["model"], sections["train"], sections["numerics"]).check_processes()
    except ConfigError as error:
        raise ConfigError(f"{str(error).removesuffix('.')}, in {where}.") from None
    values = flatten(sections)
    if values["evaluate.split"] == "test" and values["prepare.test_fraction"] == 0:
        raise ConfigError(
            f"prepare.test_fraction is 0 in {where}, so there is no test split to evaluate on; set "
            f"evaluate.split to val."
        )


def flatten(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Sections as a flat mapping: `{"train.learning_rate": 0.02, ...}`."""
    return {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in section.model_dump().items()
    }
