"""Reading params.yaml: the whole file is checked, whichever stage asks for a part of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tinyllm.config.base import Section
from tinyllm.config.evaluate import EvaluateConfig
from tinyllm.config.export import ExportConfig
from tinyllm.config.model import ModelConfig
from tinyllm.config.numerics import NumericsConfig
from tinyllm.config.prepare import PrepareConfig
from tinyllm.config.runtime import RuntimeConfig, TrackingConfig
from tinyllm.config.tokenize import TokenizeConfig
from tinyllm.config.training import TrainingConfig
from tinyllm.errors import ConfigError

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
        TrackingConfig,
    )
}


def load_params(path: Path) -> dict[str, Section]:
    """Read and check every section; one that the file leaves out takes its defaults.

    Raises:
        ConfigError: the file is missing, is not YAML, or holds an unknown section or key or a
            value out of range.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}.") from None
    return parse_params(text, str(path))


def parse_params(text: str, where: str) -> dict[str, Section]:
    """As `load_params`, from the text of such a file; errors name it `where`.

    Raises:
        ConfigError: as `load_params`.
    """
    raw = _parse_yaml(text, where)
    unknown = [str(key) for key in raw if key not in SECTIONS]
    if unknown:
        known = ", ".join(SECTIONS)
        raise ConfigError(
            f"{', '.join(unknown)} in {where} is not a known section (known: {known})."
        )
    return {name: cls.parse(raw.get(name), where) for name, cls in SECTIONS.items()}


def flatten(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Sections as one flat mapping: `{"train.learning_rate": 0.02, ...}`."""
    return {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in section.model_dump().items()
    }


def _parse_yaml(text: str, where: str) -> dict[Any, Any]:
    try:
        raw = yaml.safe_load(text)
    # PyYAML lets some errors of the values through as they are
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {place}.") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must hold sections such as 'train:', each with parameters.")
    return raw
