"""What `dvc.lock` says that the stages depended on and wrote."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from tinyllm.base.errors import TinyLLMError


class LockedOut(BaseModel):
    """A file or folder that a stage wrote, with the checksum of its bytes."""

    path: str
    md5: str


class LockedStage(BaseModel):
    """The outs of a stage, and the parameters by file that it read."""

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
        return Lock.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).stages
    except OSError as error:
        raise TinyLLMError(f"Cannot read {path}: {error.strerror}.") from None
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the whole"
        why = f"{place}: {fault['msg']}"
    # a strange text makes PyYAML raise anything, an IndexError for `!!int`
    except Exception as error:
        why = " ".join(str(error).split())
    raise TinyLLMError(
        f"{path} is damaged ({why}); restore it with 'git checkout -- dvc.lock', or delete it and "
        f"run 'dvc repro'."
    )
