"""Names by which people tell runs apart: what differs from the defaults."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinyllm.config.base import Section
from tinyllm.config.params import SECTIONS, flatten, load_params

_LONGEST = 80


def all_params(sections: Mapping[str, Section]) -> dict[str, Any]:
    """The flat parameters of a command's own sections and, from params.yaml, of all others."""
    params_file = Path("params.yaml")
    others = load_params(params_file) if params_file.is_file() else {}
    return flatten({**others, **sections})


def run_name(params: Mapping[str, Any]) -> str:
    """`baseline`, or the parameters that differ from the defaults; first the experiment's name."""
    defaults = flatten({name: section() for name, section in SECTIONS.items()})
    outputs = {name for name, section in SECTIONS.items() if section.affects_outputs}
    changed = [
        f"{key.partition('.')[2]}={value}"
        for key, value in params.items()
        if value != defaults.get(key) and key.partition(".")[0] in outputs
    ]
    experiment = os.environ.get("DVC_EXP_NAME", "")
    name = " ".join([*([experiment] if experiment else []), *(changed or ["baseline"])])
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
