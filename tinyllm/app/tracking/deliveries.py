"""How much of a journal has been delivered to which store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinyllm.app.logger import get_logger
from tinyllm.app.redaction import without_secrets
from tinyllm.app.tracking.address import database_path
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json, write_json

_log = get_logger(__name__)


class _State(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    offset: int = Field(0, ge=0, le=2**62)
    run_id: str | None = None


class Deliveries:
    """The state file of a journal; damaged, it only costs a delivery that changes nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # of the project: the journals lie in .tinyllm/journal
        self._root = path.resolve().parent.parent.parent

    def read(self, uri: str) -> dict[str, Any]:
        """What has been delivered to the store at `uri`: byte offset and run id."""
        return self._states().get(self._key(uri), _State()).model_dump()

    def write(self, uri: str, state: Mapping[str, Any]) -> None:
        """Record what has been delivered to the store at `uri`."""
        states = {**self._states(), self._key(uri): _State(**state)}
        write_json(self._path, {key: one.model_dump() for key, one in states.items()})
        self._path.chmod(0o600)

    def _states(self) -> dict[str, _State]:
        if not self._path.exists():
            return {}
        try:
            found = read_json(self._path)
            return {self._key(uri): _State.model_validate(one) for uri, one in found.items()}
        except (TinyLLMError, AttributeError, ValidationError):
            _log.warning("%s is damaged; MLflow is asked for what it has.", self._path)
            return {}

    def _key(self, uri: str) -> str:
        """A store's address without secrets, and from the project's root, which may move."""
        path = database_path(uri)
        if path is not None and path.is_relative_to(self._root):
            return f"sqlite:///{path.relative_to(self._root)}"
        return without_secrets(uri)
