"""Schedules of the learning rate and of the teacher's share of the targets."""

import math

from tinyllm.training.config import TrainingConfig


def learning_rate_factor(step: int, config: TrainingConfig) -> float:
    """Learning rate at `step` (counted from 0) as a share of the peak: warm-up, plateau, decay."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    decay_steps = config.decay_fraction * (config.max_steps - config.warmup)
    decay_start = config.max_steps - decay_steps
    if step < decay_start or decay_steps == 0:
        return 1.0
    progress = (step - decay_start) / decay_steps
    falling = 1 - progress if config.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    final = config.final_learning_rate_fraction
    return final + (1 - final) * falling


def teacher_weight(step: int, config: TrainingConfig) -> float:
    """Share of the n-gram teacher in the targets of `step` (counted from 0)."""
    progress = step / max(1, config.max_steps - 1)
    return config.teacher_weight + progress * (config.final_teacher_weight - config.teacher_weight)
