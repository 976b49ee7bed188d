"""The validation loss: of a bounded part during a run, of the whole split at its end."""

import logging

import numpy as np
import pytest
import torch

from tests.conftest import SMALL_MODEL
from tinyllm.base.errors import Interrupted
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.fused import build_model
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.shards import Tokens
from tinyllm.tokens.windows import OptimizedTextDataset, TokenData, load_token_data
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume, WorkingCheckpoints
from tinyllm.training.run import run_training
from tinyllm.training.validation import evaluate
from tinyllm.training.workers import start_workers

VOCAB = 9
SHAPE = ModelConfig(d_model=16, num_heads=2, num_layers=1, d_ff=24, sequence_length=8)
TEXT = np.resize(np.array([1, 5, 2, 7, 3, 8, 4, 6], dtype=np.uint8), 400)
VAL = np.concatenate([TEXT, np.random.default_rng(0).integers(1, VOCAB, 400).astype(np.uint8)])


class Counting(Tokens):
    """Tokens that count those read in windows."""

    read = 0

    def windows(self, starts, length):
        self.read += starts.size * length
        return super().windows(starts, length)


@pytest.fixture
def train(arithmetic):
    def run(val=VAL, resume=None, **settings):
        config = TrainingConfig(
            **{"max_steps": 12, "batch_size": 4, "warmup_steps": 2, "eval_interval": 5} | settings
        )
        return run_training(
            TokenData(TEXT, val, VOCAB), Recipe(SHAPE, config), arithmetic, resume=resume
        )

    return run


@pytest.fixture
def loss_on(arithmetic):
    def of(result, most):
        model = build_model(SHAPE, VOCAB, arithmetic)
        model.load_state_dict(result.weights)
        loader = EvaluationLoader(OptimizedTextDataset(VAL, 8, "val"), 64, arithmetic.device, most)
        return evaluate(model, loader, arithmetic)

    return of


def test_a_part_chooses_the_weights_and_the_whole_split_gives_their_loss(train, loss_on):
    result = train(eval_characters=80)
    assert [row["step"] for row in result.history] == [5, 10, 12]
    [chosen] = [row["val_loss"] for row in result.history if row["step"] == result.best_step]
    assert chosen == loss_on(result, 80) == min(row["val_loss"] for row in result.history)
    assert result.best_val_loss == loss_on(result, 0) != chosen
    assert result.val_characters == len(VAL) - 1


def test_the_end_is_bounded_too(train, loss_on):
    result = train(eval_characters=80, final_eval_characters=400)
    assert result.best_val_loss == loss_on(result, 400) != loss_on(result, 0)
    assert result.val_characters == 400


@pytest.mark.parametrize(
    ("during", "end", "characters"),
    [(0, 0, 799), (0, 80, 799), (799, 80, 799), (400, 80, 400), (80, 80, 80), (80, 1, 80)],
)
def test_nothing_is_read_again_if_it_is_not_more(train, loss_on, during, end, characters):
    result = train(eval_characters=during, final_eval_characters=end)
    assert result.best_val_loss == min(row["val_loss"] for row in result.history)
    assert result.val_characters == characters
    assert result.best_val_loss == loss_on(result, during)


def test_what_a_validation_reads_does_not_grow_with_the_split(train):
    counts = []
    for length in (10_000, 1_000_000):
        val = Counting([np.resize(TEXT, length)], VOCAB)
        train(val, eval_characters=800, final_eval_characters=1600, max_steps=20)
        counts.append(val.read)
    # the windows of all validations, which are kept, and of the end
    assert counts == [(800 + 1600) // 8 * 9] * 2


def test_the_log_says_which_share_is_read(train, caplog):
    with caplog.at_level(logging.INFO):
        step = train(eval_characters=80).best_step
    assert [record.getMessage() for record in caplog.records] == [
        "Each validation reads 80 of 800 tokens, evenly spread over the split.",
        f"The best weights, of step {step}, now read all 799 tokens of the validation split.",
    ]
    assert all(record.levelname == "INFO" for record in caplog.records)
    caplog.clear()
    train()
    assert caplog.text == ""


def test_a_run_stopped_while_it_reads_the_whole_split_goes_on_there(train, tmp_path):
    checkpoints = WorkingCheckpoints(tmp_path / "work")
    asked = iter([0] * 12 + [15])
    settings = {"eval_characters": 80, "val": np.resize(VAL, 3000)}
    with pytest.raises(Interrupted, match="after the last step") as caught:
        train(resume=Resume(checkpoints, 1e9, lambda: next(asked)), **settings)
    assert caught.value.exit_code == 143
    undisturbed = train(**settings)
    resumed = train(resume=Resume(checkpoints), **settings)
    assert resumed.best_val_loss == undisturbed.best_val_loss
    assert resumed.history == undisturbed.history
    assert all(torch.equal(resumed.weights[k], v) for k, v in undisturbed.weights.items())


@pytest.mark.medium
def test_two_processes_share_every_validation_and_agree(tokens, arithmetic):
    results = []
    for processes in (1, 2):
        config = TrainingConfig(
            batch_size=2,
            gradient_accumulation_steps=2,
            max_steps=4,
            warmup_steps=1,
            eval_interval=2,
            eval_characters=640,
        )
        recipe = Recipe(SMALL_MODEL, config, NumericsConfig(threads=1, processes=processes))
        with start_workers(tokens, recipe, arithmetic) as (group, _):
            data = load_token_data(tokens)
            results.append(run_training(data, recipe, arithmetic, group=group))
    alone, together = results
    assert alone.history == together.history
    assert alone.best_val_loss == together.best_val_loss
    assert alone.val_characters == together.val_characters == len(data.val) - 1
