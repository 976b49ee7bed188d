"""Hyperparameters of the evaluate stage."""

from typing import ClassVar, Literal

from pydantic import Field

from tinyllm.base.section import Section


class EvaluateConfig(Section):
    """What to measure on the held-out split, and which samples to draw."""

    section: ClassVar[str] = "evaluate"

    split: Literal["test", "val"] = Field("test", description="the split to measure on")
    max_characters: int = Field(
        10_000_000,
        ge=0,
        description="characters to measure on at most, evenly spread over the split; 0: all of it",
    )
    eval_batch_size: int = Field(64, ge=1, le=1_000_000, description="windows per forward pass")
    baseline_order: int = Field(
        5, ge=1, le=8, description="order of the n-gram model to compare with"
    )
    baseline_characters: int = Field(
        3_000_000,
        ge=0,
        description="training tokens that it counts at most, evenly spread; 0: all",
    )
    prompts: list[str] = Field(
        ["DUKE ORSMUND:\n", "What news, good ", "O, "],
        min_length=1,
        description="texts that samples continue",
    )
    sample_seeds: int = Field(
        1, ge=0, le=10_000, description="samples per prompt, seeded 0, 1, 2, ..."
    )
    sample_length: int = Field(400, ge=1, le=1_000_000, description="tokens per sample")
    sample_temperature: float = Field(0.8, ge=0, le=100, description="temperature of the samples")
