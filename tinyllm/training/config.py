"""Hyperparameters of training."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyllm.base.section import Section

_WARMUP_STEPS = 20


class TrainingConfig(Section):
    """Optimizer, schedule, batches and validation."""

    section: ClassVar[str] = "train"

    seed: int = Field(1337, ge=0, lt=2**63, description="seed of weights, batches and dropout")
    max_steps: int = Field(800, ge=1, le=1_000_000_000, description="optimizer steps")
    batch_size: int = Field(8, ge=1, le=1_000_000, description="windows per forward pass")
    gradient_accumulation_steps: int = Field(
        1, ge=1, le=1_000_000, description="forward passes per optimizer step"
    )
    initial_attention: Literal["recent", "random"] = Field(
        "recent", description="where heads attend at first: the last few characters, or anywhere"
    )
    optimizer: Literal["muon", "adamw"] = Field(
        "muon",
        description="Muon inside the blocks and steps of bounded size outside, or AdamW for all",
    )
    learning_rate: float = Field(
        0.06, gt=0, le=10, description="peak learning rate of the matrices inside the blocks"
    )
    embedding_learning_rate: float = Field(
        0.03,
        gt=0,
        le=10,
        description="peak learning rate outside the blocks, of which norms get 0.3 with Muon",
    )
    warmup_steps: int = Field(
        _WARMUP_STEPS,
        ge=0,
        description="steps of linear warm-up; by default a fifth of a run that is shorter",
    )
    decay: Literal["linear", "cosine"] = Field("linear", description="shape of the decay")
    decay_fraction: float = Field(
        1.0, ge=0, le=1, description="share of the steps spent decaying, at the end"
    )
    final_learning_rate_fraction: float = Field(
        0.0, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay inside the blocks")
    momentum: float = Field(
        0.9, ge=0, lt=1, description="momentum of Muon and of the steps of bounded size"
    )
    muon_beta2: float = Field(
        0.95, ge=0, lt=1, description="decay of the rows' mean squares, by which Muon normalizes"
    )
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="first-moment decay of AdamW")
    adam_beta2: float = Field(0.95, ge=0, lt=1, description="second-moment decay of AdamW")
    teacher_order: int = Field(
        0, ge=0, le=16, description="order of the n-grams that soften the targets; 0: none do"
    )
    teacher_weight: float = Field(
        1.0, ge=0, le=1, description="their share of the targets at the first step"
    )
    final_teacher_weight: float = Field(
        0.0, ge=0, le=1, description="their share of the targets at the last step"
    )
    teacher_characters: int = Field(
        10_000_000,
        ge=0,
        description="tokens whose n-grams are counted at most, evenly spread; 0: all",
    )
    gradient_clip: float = Field(1.0, ge=0, description="largest global gradient norm; 0: no limit")
    eval_interval: int = Field(
        80, ge=1, description="steps between validations, which also choose the best checkpoint"
    )
    eval_characters: int = Field(
        120_000,
        ge=0,
        description="tokens that a validation reads at most, evenly spread; 0: the whole split",
    )
    final_eval_characters: int = Field(
        10_000_000,
        ge=0,
        description="tokens on which the best weights are validated at the end, likewise",
    )

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        if self.warmup > self.max_steps:
            raise ValueError(
                f"warmup_steps ({self.warmup_steps}) must not exceed max_steps ({self.max_steps})"
            )
        return self

    @property
    def warmup(self) -> int:
        """Steps of warm-up: `warmup_steps`, unless that is the default and the run is shorter."""
        if self.warmup_steps == _WARMUP_STEPS > self.max_steps:
            return max(1, self.max_steps // 5)
        return self.warmup_steps

    @property
    def windows(self) -> int:
        """The number of windows in the whole run."""
        return self.max_steps * self.batch_size * self.gradient_accumulation_steps
