"""In fast mode, DDP and FSDP2 train what one process trains, and runs resume on any number."""

import resource
import shutil
from dataclasses import replace

import pytest
import torch

from tests.training.together import run_together
from tinyllm.base.errors import Interrupted, TinyLLMError
from tinyllm.base.events import StepTaken
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.numerics import setup_numerics
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.windows import load_token_data
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe
from tinyllm.training.resume import Resume, WorkingCheckpoints
from tinyllm.training.run import run_training

pytestmark = pytest.mark.medium

# three processes have different numbers of rows of most weights, and none of the last ones' norms
MODEL = ModelConfig(d_model=64, num_heads=2, num_layers=2, d_ff=80, sequence_length=32)
STEPS, STOP = 8, 5
# of the loss, in nats
CLOSE = 1e-4


def train(group, tokens, parallelism, settings, stop_at=0, folder=None):
    """Losses of steps and validations, and the sum and number of the weights; in each process."""
    training = {"max_steps": STEPS, "batch_size": 6, "eval_interval": 4, "warmup_steps": 2}
    training |= {"learning_rate": 0.02, "embedding_learning_rate": 0.02} | settings
    tied, compiler = training.pop("tie_embeddings", False), training.pop("compiler", "")
    how = {"device": "cpu", "precision": "float32", "threads": 1, "parallelism": parallelism}
    numerics = NumericsConfig(mode="fast", **how)
    model = MODEL.model_copy(update={"tie_embeddings": tied})
    recipe = Recipe(model, TrainingConfig(**training), numerics)
    losses = {}

    def tell(event):
        if isinstance(event, StepTaken):
            losses[event.step] = event.loss

    def stop():
        return 15 * (group.rank == group.size - 1 and max(losses, default=0) == stop_at)

    resume = Resume(WorkingCheckpoints(folder), 1e9, stop) if folder else None
    data, arithmetic = load_token_data(tokens), setup_numerics(numerics)
    arithmetic = replace(arithmetic, compiler=compiler)
    try:
        result = run_training(data, recipe, arithmetic, tell=tell, resume=resume, group=group)
    except Interrupted:
        return losses, [], {}
    validated = [*(row["val_loss"] for row in result.history), result.best_val_loss]
    return losses, validated, {name: tensor.shape for name, tensor in result.weights.items()}


def assert_close(found, expected, first=1):
    """The curves of losses agree, from a step on, and so do the shapes of the weights."""
    assert sorted(found[0]) == sorted(step for step in expected[0] if step >= first)
    for step, loss in found[0].items():
        assert abs(loss - expected[0][step]) < CLOSE, step
    assert torch.allclose(torch.tensor(found[1]), torch.tensor(expected[1]), rtol=0, atol=CLOSE)
    assert found[2] == expected[2]


@pytest.mark.parametrize(
    ("size", "parallelism", "settings"),
    [
        (2, "ddp", {"gradient_accumulation_steps": 4}),
        (3, "fsdp", {"tie_embeddings": True, "eval_characters": 200}),
        pytest.param(
            2,
            "fsdp",
            {"optimizer": "adamw", "gradient_accumulation_steps": 4},
            marks=[pytest.mark.slow, pytest.mark.exhaustive],
        ),
        *(
            pytest.param(
                2,
                parallelism,
                {"compiler": "aot_eager", "gradient_accumulation_steps": 2},
                marks=[pytest.mark.slow, pytest.mark.exhaustive],
            )
            for parallelism in ("ddp", "fsdp")
        ),
    ],
)
def test_several_processes_train_what_one_trains(size, parallelism, settings, tokens, tmp_path):
    (alone,) = run_together(train, 1, tmp_path, tokens, "ddp", settings | {"compiler": ""})
    assert alone[0][STEPS] < alone[0][1] - 0.3
    first, *others = run_together(train, size, tmp_path, tokens, parallelism, settings)
    assert_close(first, alone)
    for losses, validated, weights in others:
        assert (losses, validated) == first[:2]
        # only the first one keeps what comes out
        assert not weights or parallelism == "ddp"


def test_a_sharded_run_resumes_on_another_number_of_processes(tokens, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (alone,) = run_together(train, 1, tmp_path, tokens, "fsdp", {})
    stopped = run_together(train, 3, tmp_path, tokens, "fsdp", {}, STOP - 2, work)
    assert {len(losses) for losses, _, _ in stopped} == {STOP - 2}
    assert len(list((work / f"step-{STOP - 2:08d}.shards").glob("__*_0.distcp"))) == 3
    # as a kill leaves it, or a full disk: shares without an index
    torn = work / "step-00000002.shards"
    shutil.copytree(work / f"step-{STOP - 2:08d}.shards", torn)
    (stopped,) = run_together(train, 1, tmp_path, tokens, "fsdp", {}, STOP, work)
    assert not torn.exists()
    assert sorted(stopped[0]) == [STOP - 1, STOP]
    first, _ = run_together(train, 2, tmp_path, tokens, "fsdp", {}, 0, work)
    assert_close(first, alone, first=STOP + 1)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_damaged_shard_is_noticed_and_the_one_before_is_used(tokens, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (alone,) = run_together(train, 1, tmp_path, tokens, "fsdp", {})
    for stop_at in (3, STOP):
        run_together(train, 1, tmp_path, tokens, "fsdp", {}, stop_at, work)
    shard = work / f"step-{STOP:08d}.shards" / "__0_0.distcp"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    first, _ = run_together(train, 2, tmp_path, tokens, "fsdp", {}, 0, work)
    assert_close(first, alone, first=4)
    assert (work / f"damaged-step-{STOP:08d}.shards").is_dir()
    WorkingCheckpoints(work).clear()
    assert not list(work.iterdir())


def train_with_little_room(group, *arguments):
    # as a full disk, a file beyond the limit is an error
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    return train(group, *arguments)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_checkpoint_that_cannot_be_written_is_told_of_in_a_sentence(tokens, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(TinyLLMError, match=r"^Cannot write .*, perhaps since the disk is full: "):
        run_together(train_with_little_room, 2, tmp_path, tokens, "fsdp", {}, STOP, work)
    assert WorkingCheckpoints(work).stems() == []


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize(("optimizer", "rate"), [("muon", 0.02), ("adamw", 0.003)])
def test_the_curves_agree_over_a_hundred_steps(optimizer, rate, tokens, tmp_path):
    # a run that is about to diverge would enlarge any difference of the last bits
    settings = {"max_steps": 100, "batch_size": 12, "optimizer": optimizer, "learning_rate": rate}
    (alone,) = run_together(train, 1, tmp_path, tokens, "ddp", settings)
    for parallelism in ("ddp", "fsdp"):
        first, _ = run_together(train, 2, tmp_path, tokens, parallelism, settings)
        assert_close(first, alone)
        (tmp_path / "store-2").unlink(missing_ok=True)
