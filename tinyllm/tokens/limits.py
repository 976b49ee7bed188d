"""How much of a text is evaluated at once."""

# logits of a forward pass without gradients: 64 MiB
_MOST_LOGITS = 1 << 24
_FEWEST_WINDOWS = 64


def fitting_windows(wanted: int, sequence_length: int, vocab_size: int) -> int:
    """How many windows to evaluate at once: those wanted, unless their logits are too many."""
    return max(1, min(wanted, _MOST_LOGITS // (sequence_length * vocab_size)))


def validation_windows(batch_size: int, sequence_length: int, vocab_size: int) -> int:
    """How many windows a validation during a run evaluates at once, for a batch of training."""
    return fitting_windows(max(batch_size, _FEWEST_WINDOWS), sequence_length, vocab_size)
