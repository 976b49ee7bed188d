"""What `dvc.lock` says that the stages depended on and wrote."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from tinyllm.base.errors import TinyLLMError


class LockedDependency(BaseModel):
    """A file or folder that a stage read, with the checksum of its bytes if DVC took it."""

    path: str
    md5: str = ""


class LockedOut(BaseModel):
    """A file or folder that a stage wrote, with the checksum of its bytes."""

    path: str
    md5: str


class LockedStage(BaseModel):
    """The dependencies and outs of a stage, and the parameters by file that it read."""

    deps: list[LockedDependency] = []
    outs: list[LockedOut] = []
    params: dict[str, dict[str, Any]] = {}


class Lock(BaseModel):
    """All stages, by name."""

    stages: dict[str, LockedStage] = Field(min_length=1)


def read_lock(folder: Path) -> dict[str, LockedStage]:
    """The stages of a `dvc.lock`.

    Raises:
        TinyLLMError: there is none, or it is damaged.
    """
    path = folder / "dvc.lock"
    if not path.is_file():
        raise TinyLLMError(f"There is no {path}; run 'dvc repro' first.")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise _damaged(path, str(error)) from None
    return parse_lock(text, path)


def parse_lock(text: str, path: Path) -> dict[str, LockedStage]:
    """The stages of the text of a `dvc.lock`, which the message of an error calls `path`.

    Raises:
        TinyLLMError: it is damaged.
    """
    try:
        return Lock.model_validate(yaml.safe_load(text)).stages
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise _damaged(path, f"{place}: {fault['msg']}") from None
    # a strange text makes PyYAML raise anything, an IndexError for `!!int`
    except Exception as error:
        raise _damaged(path, " ".join(str(error).split())) from None


def _damaged(path: Path, why: str) -> TinyLLMError:
    return TinyLLMError(
        f"{path} is damaged ({why}); restore it with 'git checkout -- dvc.lock', or delete it and "
        f"run 'dvc repro'."
    )
