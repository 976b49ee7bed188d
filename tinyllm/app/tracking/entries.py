"""What a line of a journal may hold; anything else is skipped when a journal is read."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

# the standard one keeps no metadata that pydantic needs before Python 3.12
from typing_extensions import TypedDict

Event = dict[str, Any]
_Texts = dict[str, str]
_Step = Annotated[int, Field(ge=0, le=2**62)]
_Name = Annotated[str, Field(min_length=1)]


class _Entry(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # pydantic's way for a TypedDict

    time: Annotated[int, Field(ge=0, le=2**62)]


class _Kept(TypedDict):
    path: _Name


class _Run(_Entry):
    kind: Literal["run"]
    stage: str
    experiment: _Name
    name: NotRequired[str]
    params: NotRequired[_Texts]
    tags: NotRequired[_Texts]
    note: NotRequired[str]


class _Status(_Entry):
    kind: Literal["status"]
    value: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class _Points(_Entry):
    kind: Literal["metrics", "figures"]
    step: _Step
    values: dict[str, float]


class _Text(_Entry):
    kind: Literal["text"]
    text: str
    file: _Name


class _Dataset(_Entry):
    kind: Literal["dataset"]
    name: _Name
    source: str
    digest: _Name
    context: str
    split: NotRequired[str]


class _Artifact(_Entry):
    kind: Literal["artifact"]
    path: _Name
    folder: str


class _Checkpoint(_Entry):
    kind: Literal["checkpoint"]
    name: _Name
    path: _Name
    sha256: str
    step: _Step
    metrics: dict[str, float]


class _Export(_Entry):
    kind: Literal["export"]
    name: _Name
    path: _Name
    registered_model: _Name
    sha256: str
    step: _Step
    test_fingerprint: str
    bits_per_character: float
    margin: NotRequired[float]
    tags: NotRequired[_Texts]
    lineage: NotRequired[_Kept]
    description: NotRequired[str]


_ENTRY: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Run | _Status | _Points | _Text | _Dataset | _Artifact | _Checkpoint | _Export,
        Field(discriminator="kind"),
    ]
)


def parse_entry(line: bytes) -> Event:
    """An event from a line of a journal.

    Raises:
        ValueError: the line is no event; the message says what is wrong with it.
    """
    try:
        return dict(_ENTRY.validate_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
