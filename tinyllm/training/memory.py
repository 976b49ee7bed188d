"""How much memory a training takes, estimated from its parameters."""

from tinyllm.model.config import ModelConfig
from tinyllm.tokens.limits import validation_windows
from tinyllm.training.config import TrainingConfig

# measured on models of 1 to 57 million weights, which the estimate meets within a fifth
_PROCESS = 380_000_000
# a weight, its gradient, its optimizer's state and temporaries, and the best one so far
_BYTES_PER_WEIGHT = 36
_FLOAT = 4
# of a batch: inputs and targets, and what they are gathered from
_BYTES_PER_TOKEN = 24
# copies of the logits between forward and backward pass
_LOGITS = 4
# of the n-gram teacher: for one length of context, and what making one takes beside it
_LARGEST_TABLE, _TABLES_BESIDE = 128 << 20, 5
_BYTES_PER_COUNTED = 9


def count_weights(model: ModelConfig, vocab_size: int) -> int:
    """The number of weights of a model."""
    width, hidden = model.d_model, model.d_ff
    block = 4 * width**2 + 3 * width * hidden + 2 * width + 2 * model.head_dim
    ends = width * vocab_size * (1 if model.tie_embeddings else 2) + width
    return model.num_layers * block + ends


def estimate_memory(model: ModelConfig, training: TrainingConfig, vocab_size: int) -> int:
    """Bytes of memory at most, in one process on the CPU."""
    length, windows = model.sequence_length, training.batch_size
    logits = _LOGITS * vocab_size
    of_block = 10 * model.d_model + 6 * model.d_ff + model.num_heads * length
    trained = windows * length * (model.num_layers * of_block + logits)
    whole_batch = windows * training.gradient_accumulation_steps
    evaluated = validation_windows(whole_batch, length, vocab_size) * length * (of_block + logits)
    batch = whole_batch * (length + 1) * _BYTES_PER_TOKEN
    masks = length**2 * _FLOAT
    tables = _teacher(training) if training.teacher_order else 0
    weights = count_weights(model, vocab_size) * _BYTES_PER_WEIGHT
    return _PROCESS + weights + max(trained, evaluated) * _FLOAT + batch + masks + tables


def _teacher(training: TrainingConfig) -> int:
    tables = _LARGEST_TABLE * (training.teacher_order + _TABLES_BESIDE)
    return tables + training.teacher_characters * _BYTES_PER_COUNTED
