"""Names of runs: their differences from the committed params.yaml."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyllm.app.params import SECTIONS, flatten, load_params, parse_params
from tinyllm.app.redaction import without_secrets
from tinyllm.app.tracking.lineage import git
from tinyllm.base.errors import ConfigError
from tinyllm.base.section import Section

_LONGEST = 80


def all_params(sections: Mapping[str, Section]) -> dict[str, Any]:
    """Flat parameters: a command's own sections, and all others from params.yaml."""
    params_file = Path("params.yaml")
    others = load_params(params_file) if params_file.is_file() else {}
    return flatten({**others, **sections})


def run_name(params: Mapping[str, Any]) -> str:
    """The experiment's name, if any, then `baseline` or the parameters that differ from it."""
    experiment = os.environ.get("DVC_EXP_NAME", "")
    changed = [f"{key.partition('.')[2]}={value}" for key, value in changed_params(params).items()]
    name = " ".join([*([experiment] if experiment else []), *(changed or ["baseline"])])
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def text_name(source: str) -> str:
    """What a person calls the text at a place: the name of its file or folder."""
    name = without_secrets(source).partition("?")[0].rstrip("/").rpartition("/")[2]
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def changed_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that affect outputs and differ from the baseline."""
    baseline = flatten(_baseline())
    outputs = {name for name, section in SECTIONS.items() if section.affects_outputs}
    return {
        key: value
        for key, value in params.items()
        if value != baseline.get(key) and key.partition(".")[0] in outputs
    }


def _baseline() -> dict[str, Section]:
    """The committed params.yaml, in an experiment that of its base commit; or the defaults."""
    commit = os.environ.get("DVC_EXP_BASELINE_REV") or "HEAD"
    if text := git("show", f"{commit}:./params.yaml"):
        # an old one may hold parameters that no longer exist
        with contextlib.suppress(ConfigError):
            return parse_params(text, f"{commit}:params.yaml")
    return {name: section() for name, section in SECTIONS.items()}
