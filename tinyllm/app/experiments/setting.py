"""What experiments start from: parameters, code and text, and a name for all of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.config import TrackingConfig
from tinyllm.app.experiments.space import override
from tinyllm.app.params import load_params
from tinyllm.app.repository import find_repository
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import fingerprint
from tinyllm.base.section import field_type
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.listing import list_corpus
from tinyllm.formats.closure import ROOT, import_closure


@dataclass(frozen=True)
class Setting:
    """The repository's parameters, and a name for the experiments on them.

    `overrides` are ready for `dvc exp run -S`; `identity` changes with anything that the results
    depend on.
    """

    name: str
    identity: str
    params: dict[str, dict[str, Any]]
    overrides: list[str]
    tracking: TrackingConfig


def find_setting(kind: str, name: str | None, fixed: Sequence[str], task: Any) -> Setting:
    """Read params.yaml, apply `SECTION.PARAMETER=VALUE` overrides, and name the result.

    Args:
        kind: prefix of the default name.
        name: of the experiments.
        fixed: overrides.
        task: what will be done, as plain values; part of the identity.

    Raises:
        TinyLLMError: this is not a repository of the pipeline.
        ConfigError: an override or the name is invalid.
    """
    if not Path("dvc.yaml").is_file() or not Path("params.yaml").is_file():
        raise TinyLLMError("There is no dvc.yaml here; run this at the root of the repository.")
    find_repository(Path.cwd())
    sections = load_params(Path("params.yaml"))
    values = {key: section.model_dump() for key, section in sections.items()}
    overrides = []
    for text in fixed:
        key, equals, value = text.partition("=")
        section, _, field = key.partition(".")
        if not equals or section not in sections:
            raise ConfigError(f"{text!r} is no override; write SECTION.PARAMETER=VALUE.")
        of = type(sections[section])
        is_text = field in of.model_fields and field_type(of, field) is str
        chosen = of.parse({**values[section], field: _given(value, is_text=is_text)})
        values[section] = chosen.model_dump()
        overrides.append(override(key, values[section][field]))
    watched = {key: values[key] for key, of in sections.items() if of.affects_outputs}
    corpus, _ = list_corpus(PrepareConfig.parse(values["prepare"]))
    code = import_closure("stages.train", "stages.evaluate")
    files = {file.path: Path(file.path) for file in corpus if not file.is_remote}
    files |= {str(path): ROOT / path for path in code}
    facts = {"params": watched, "task": task}
    if remote := [(file.path, file.size, file.version) for file in corpus if file.is_remote]:
        facts["corpus"] = remote
    identity = fingerprint(facts, files)
    name = name or f"{kind}-{identity[:6]}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise ConfigError(
            f"{name!r} cannot name an experiment; use at most 100 letters, digits, - and _."
        )
    return Setting(name, identity, values, overrides, TrackingConfig.parse(values["tracking"]))


def _given(text: str, *, is_text: bool) -> Any:
    """The value that a person wrote: a text as it stands, or without quotes around all of it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if is_text and not quoted:
        return text
    import yaml

    try:
        return yaml.safe_load(text)
    # a strange text makes PyYAML raise anything, an IndexError for `!!int`
    except Exception:
        raise ConfigError(f"{text!r} is no value of a parameter.") from None
