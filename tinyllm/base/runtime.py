"""How work is done on this machine or cluster."""

from typing import ClassVar, Literal

from pydantic import Field

from tinyllm.base.section import Section


class RuntimeConfig(Section):
    """How the stages run here; changes no byte of what they write."""

    section: ClassVar[str] = "runtime"
    affects_outputs: ClassVar[bool] = False

    workers: int = Field(
        0, ge=0, le=1024, description="processes that prepare and tokenize; 0: one a core"
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="where they run: on this machine, or on the Ray cluster that RAY_ADDRESS names",
    )
    checkpoint_interval: float = Field(
        20.0, ge=0, description="seconds between working checkpoints; 0: after every step"
    )
