"""Hyperparameters of the arithmetic: device, precision, reproducibility."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyllm.base.section import Section


class NumericsConfig(Section):
    """`portable`: the same bytes on any x86-64 CPU with AVX2. `fast`: as fast as possible here."""

    section: ClassVar[str] = "numerics"

    mode: Literal["portable", "fast"] = Field(
        "portable", description="same bytes on every AVX2 CPU, or whatever is quickest here"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="where to compute; auto takes the best one in fast mode, else the CPU"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: in fast mode bfloat16 on CUDA and on CPUs made for it, else float32",
    )
    threads: int = Field(
        2, ge=1, le=1024, description="threads of each process; in portable mode at most one a core"
    )
    processes: int = Field(
        1,
        ge=1,
        le=1024,
        description="processes that train together, each on its share of every batch",
    )
    parallelism: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="in fast mode, each process has a copy of the model, or a share of it (FSDP2)",
    )

    compile: bool = Field(
        False,
        description="in fast mode, compile the model, which takes a minute at the start; for GPUs",
    )

    def decisive(self) -> dict[str, Any]:
        """The fields that affect bytes; in fast mode also threads and parallelism.

        In fast mode the number of processes does too, but a run may be resumed by another number.
        """
        portable = {"threads", "processes", "parallelism"}
        return self.model_dump(exclude=portable if self.mode == "portable" else {"processes"})

    @property
    def sharded(self) -> bool:
        """Whether each process has a share of the model, not a copy."""
        return self.mode == "fast" and self.parallelism == "fsdp"

    @model_validator(mode="after")
    def _portable_is_float32_on_cpu(self) -> Self:
        if self.mode == "portable" and self.device in ("cuda", "mps"):
            raise ValueError(
                f"mode 'portable' computes on the CPU; for device '{self.device}' use mode 'fast'"
            )
        if self.mode == "portable" and self.precision == "bfloat16":
            raise ValueError("mode 'portable' computes in float32; for bfloat16 use mode 'fast'")
        if self.mode == "portable" and self.compile:
            raise ValueError("mode 'portable' never compiles the model; for that use mode 'fast'")
        if self.mode == "portable" and self.parallelism == "fsdp":
            raise ValueError(
                "in mode 'portable' each process has a copy of the model; for parallelism 'fsdp' "
                "use mode 'fast'"
            )
        return self
