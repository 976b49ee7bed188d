"""JSON files with a schema, checked whole before anything in them is used."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# the beginning of one: enough to tell two texts apart, and short in DVC's tables
ShortSha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
_LONGEST = 80
# a file that is no object, or of another format, is another program's
_IDENTITY = ("", "format")


class Document(BaseModel):
    """The part of a JSON file that is used; other keys are kept, and unchecked."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)


D = TypeVar("D", bound=Document)


def read_document(path: Path, kind: type[D], remedy: str) -> D:
    """Read and check a JSON file.

    Args:
        path: the file.
        kind: its schema.
        remedy: what to do if it does not fit, for the message.

    Raises:
        TinyLLMError: the file is missing, is not JSON, or does not fit the schema.
    """
    return parse_document(read_json(path), kind, str(path), remedy)


def parse_document(value: Any, kind: type[D], where: str, remedy: str) -> D:
    """Like `read_document`, but from plain values; errors call them `where`."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
    except RecursionError:
        raise TinyLLMError(f"{where} is damaged: it is nested too deeply; {remedy}.") from None
    place = ".".join(str(part) for part in fault["loc"])[:_LONGEST]
    if place in _IDENTITY:
        raise TinyLLMError(f"{where} was not written by this program; {remedy}.")
    raise TinyLLMError(f"{where} is damaged: {place}: {fault['msg']}; {remedy}.")
