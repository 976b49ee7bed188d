"""Hyperparameters of the tokenize stage."""

from typing import ClassVar

from pydantic import Field

from tinyllm.base.section import Section


class TokenizeConfig(Section):
    """How the alphabet is learned from the training split."""

    section: ClassVar[str] = "tokenize"

    min_count: int = Field(
        1, ge=1, description="characters seen less often in the training split become unknown"
    )
