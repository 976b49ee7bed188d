"""The estimate of a training's memory: it grows with what takes memory, and with nothing else."""

import pytest

from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.training.config import TrainingConfig
from tinyllm.training.memory import count_weights, estimate_memory

SMALL = ModelConfig(d_model=64, num_heads=2, num_layers=2, d_ff=128, sequence_length=64)
BATCH_OF_8 = TrainingConfig(batch_size=8)
LARGER, BATCH_OF_16 = ModelConfig(sequence_length=128), TrainingConfig(batch_size=16)


@pytest.mark.parametrize("tied", [True, False])
def test_weights_are_those_of_the_model(tied):
    config = SMALL.model_copy(update={"tie_embeddings": tied})
    model = Transformer(config, 9_001)
    assert count_weights(config, 9_001) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("model", "training", "vocab_size", "measured"),
    [
        (SMALL, BATCH_OF_8, 9_001, 675e6),
        (SMALL, BATCH_OF_8, 70_001, 1_321e6),
        (LARGER, BATCH_OF_16, 64, 582e6),
        (LARGER, BATCH_OF_16, 9_001, 863e6),
        (LARGER, BATCH_OF_16, 70_001, 3_446e6),
        (ModelConfig(sequence_length=256), BATCH_OF_8, 64, 738e6),
    ],
)
def test_the_estimate_is_near_what_was_measured(model, training, vocab_size, measured):
    assert estimate_memory(model, training, vocab_size) == pytest.approx(measured, rel=0.2)


def test_validations_of_a_large_vocabulary_take_no_more_than_training():
    for batch_size in (4, 8, 16):
        training = TrainingConfig(batch_size=batch_size)
        one = estimate_memory(LARGER, training, 70_001)
        other = estimate_memory(LARGER, TrainingConfig(batch_size=2 * batch_size), 70_001)
        # all of the logits are those of the batch
        assert other - one == pytest.approx(4 * 4 * 128 * 70_001 * batch_size, rel=0.1)


def test_a_teacher_takes_memory_for_its_tables_and_what_it_counts():
    alone, taught, more = (
        estimate_memory(SMALL, TrainingConfig(teacher_order=order, teacher_characters=count), 64)
        for order, count in ((0, 10**7), (3, 10**7), (3, 2 * 10**7))
    )
    assert taught - alone > 3 * (128 << 20)
    assert more - taught == 9 * 10**7
