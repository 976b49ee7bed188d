"""In which parameters runs differ."""

from collections.abc import Mapping, Sequence

from tinyllm.app.params import SECTIONS

# how a model was evaluated or exported says nothing about the model
_SILENT = {"evaluate", "export", *(k for k, v in SECTIONS.items() if not v.affects_outputs)}


def differing(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Parameters that are not the same in all runs, by name."""
    names = sorted({name for params in runs for name in params})
    return [name for name in names if len({params.get(name) for params in runs}) > 1]


def telling(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Those of them that can change a model."""
    return [name for name in differing(runs) if name.partition(".")[0] not in _SILENT]
