"""Hyperparameters of the export stage."""

from typing import ClassVar, Literal

from pydantic import Field

from tinyllm.config.base import Section


class ExportConfig(Section):
    """Which forms of the model are written."""

    section: ClassVar[str] = "export"

    formats: list[Literal["huggingface", "pyfunc"]] = Field(
        ["huggingface", "pyfunc"], min_length=1, description="forms of the model to write"
    )
