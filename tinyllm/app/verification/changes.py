"""What differs here from dvc.lock, in words."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tinyllm.app.verification.lock import LockedStage, read_lock
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.params_file import read_params


def changed_since_lock(root: Path) -> list[str]:
    """Data, code, parameters and outs that differ from dvc.lock here, described in words.

    Raises:
        TinyLLMError: `dvc status` fails.
    """
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--json"],
        cwd=root,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    try:
        status = json.loads(result.stdout or "{}") if result.returncode == 0 else None
    except ValueError:
        status = None
    if not isinstance(status, dict):
        said = " ".join((result.stderr or result.stdout).split())
        raise TinyLLMError(f"'dvc status' failed: {said.removeprefix('ERROR: ')}")
    return describe_changes(root, status)


def describe_changes(root: Path, status: dict[str, Any]) -> list[str]:
    """DVC's status in words; outs that are not here do not count."""
    lock = read_lock(root)
    outs = {out.path for entry in lock.values() for out in entry.outs}
    not_here = {path for path in outs if not (root / path).exists()}
    found = []
    for stage, changes in status.items():
        if stage.endswith(".dvc"):
            continue  # a raw text; if a stage reads it, it is a dependency of that stage
        for change in changes:
            if isinstance(change, str):
                found.append(f"{stage}: {change}")
                continue
            for kind, items in change.items():
                what = "out" if kind == "changed outs" else "dependency"
                paths = {path: state for path, state in items.items() if isinstance(state, str)}
                found += [
                    f"{stage}: {what} {path} is {state}"
                    for path, state in paths.items()
                    if path not in not_here
                ]
                for file in items.keys() - paths.keys():
                    locked = lock.get(stage, LockedStage()).params.get(file, {})
                    found += [f"{stage}: {line}" for line in _changed_params(root / file, locked)]
    return found


def _changed_params(file: Path, locked: dict[str, Any]) -> list[str]:
    """The parameters of the locked sections that have changed."""
    now = _flat(read_params(file))
    before = _flat(locked)
    keys = {key for key in now if key.partition(".")[0] in locked} | before.keys()
    return [
        f"parameter {key} is {now.get(key)!r}, in dvc.lock {before.get(key)!r}"
        for key in sorted(keys)
        if now.get(key) != before.get(key)
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {}
        flat.update(nested or {f"{prefix}{key}": value})
    return flat
