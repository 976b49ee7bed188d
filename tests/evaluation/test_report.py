"""The evaluation of a checkpoint: its files, their bytes, its errors."""

import csv
import json
import math
import shutil

import pytest
import torch

from tests.conftest import write_prepared
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_csv
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.evaluation.baselines import KneserNeyModel
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.evaluation.plots import draw_curves
from tinyllm.evaluation.report import draw_samples, evaluate_checkpoint
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.encode import tokenize_corpus
from tinyllm.tokens.loaders import EvaluationLoader
from tinyllm.tokens.shards import load_tokens
from tinyllm.tokens.tokenizer import load_tokenizer
from tinyllm.tokens.windows import OptimizedTextDataset
from tinyllm.training.validation import evaluate

CONFIG = EvaluateConfig(sample_length=15, prompts=["DUKE:\n", "O, "], sample_seeds=2)
FILES = {"metrics.json", "positions.csv", "positions.png", "surprise.png", "samples.txt"}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More threads do not help a small model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def report(checkpoint_folder, tokens, arithmetic, tmp_path_factory):
    """The folder of an evaluation, and its result."""
    out = tmp_path_factory.mktemp("evaluation") / "report"
    model = load_checkpoint(checkpoint_folder, arithmetic)
    return out, evaluate_checkpoint(CONFIG, model, tokens, out, arithmetic)


def encode(text, folder, **prepare):
    (folder / "raw.txt").write_text(text, encoding="utf-8")
    config = PrepareConfig(source=str(folder / "raw.txt"), **prepare)
    prepare_corpus(config, folder / "prepared")
    tokenize_corpus(TokenizeConfig(), folder / "prepared", folder / "tokens")
    return folder / "tokens"


def test_the_report_holds_five_files_and_nothing_else(report):
    out, metrics = report
    assert {path.name for path in out.iterdir()} == FILES
    assert {path.name for path in out.parent.iterdir()} == {"report"}
    assert json.loads((out / "metrics.json").read_text()) == metrics
    for picture in ("positions.png", "surprise.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")


def test_a_second_evaluation_writes_the_same_bytes(report, checkpoint, tokens, arithmetic):
    out, metrics = report
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "samples.txt").write_text("stale")
    assert evaluate_checkpoint(CONFIG, checkpoint, tokens, out, arithmetic) == metrics
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_the_model_has_learned_something(report, checkpoint):
    metrics = report[1]
    uniform = math.log2(checkpoint.tokenizer.vocab_size)
    assert 1 < metrics["bits_per_character"] < uniform - 1
    assert metrics["loss"] == pytest.approx(metrics["bits_per_character"] * math.log(2), abs=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]), abs=1e-4)
    assert 0.15 < metrics["top1_accuracy"] < metrics["top5_accuracy"] < 1


def test_the_metrics_describe_the_split(report, checkpoint, tokens):
    metrics, held_out = report[1], load_tokens(tokens, "test")
    facts = json.loads((tokens / "meta.json").read_text())["splits"]["test"]
    assert metrics["split"] == "test"
    assert metrics["characters"] == metrics["tokens"] == len(held_out) == facts["tokens"]
    assert metrics["fingerprint"] == facts["fingerprint"][:16]
    assert metrics["unknown_characters"] == sum(facts["unknown_characters"].values())
    baseline = KneserNeyModel(load_tokens(tokens, "train"), checkpoint.tokenizer.vocab_size, 5)
    bits = baseline.bits_per_token(held_out)
    assert metrics["baseline_bits_per_character"] == pytest.approx(bits, abs=1e-6)


def test_the_table_of_positions_covers_the_window(report):
    with (report[0] / "positions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["context"]) for row in rows] == list(range(1, 33))
    # 1999 predicted characters: 62 full windows and part of another
    times = [63 if int(row["context"]) <= 1999 % 32 else 62 for row in rows]
    bits = sum(count * float(row["bits"]) for count, row in zip(times, rows, strict=True))
    assert bits / 1999 == pytest.approx(report[1]["bits_per_character"], abs=1e-5)


def test_a_sample_follows_its_prompt_and_seed(report, checkpoint):
    text = (report[0] / "samples.txt").read_text()
    assert text == draw_samples(CONFIG, checkpoint)
    assert text.count("--- prompt ") == 4
    sampling = SamplingConfig(max_new_tokens=15, temperature=0.8, seed=1)
    sample = generate_text(checkpoint, "O, ", sampling)
    assert text.endswith(f"--- prompt 'O, ', seed 1\n{sample}\n")


def test_zero_seeds_draw_no_samples(checkpoint):
    assert draw_samples(CONFIG.model_copy(update={"sample_seeds": 0}), checkpoint) == ""


def test_the_validation_split_gives_the_loss_of_the_run(checkpoint, tokens, arithmetic, tmp_path):
    config = EvaluateConfig(split="val", sample_seeds=0, baseline_order=1)
    metrics = evaluate_checkpoint(config, checkpoint, tokens, tmp_path / "report", arithmetic)
    assert metrics["split"] == "val"
    assert metrics["loss"] == pytest.approx(checkpoint.training["val_loss"], abs=1e-5)


def test_tokens_of_another_corpus_are_refused(checkpoint, arithmetic, tmp_path):
    tokens = encode("abc def\n" * 200, tmp_path)
    with pytest.raises(TinyLLMError, match="different corpora"):
        evaluate_checkpoint(CONFIG, checkpoint, tokens, tmp_path / "report", arithmetic)
    assert not (tmp_path / "report").exists()


def test_tokens_of_another_alphabet_of_the_same_size_are_refused(
    checkpoint, arithmetic, text, tmp_path
):
    tokens = encode(text.replace("e", "\N{LATIN SMALL LETTER O WITH STROKE}"), tmp_path)
    other = CharacterTokenizer.load_state(tokens / "tokenizer.json")
    assert other.vocab_size == checkpoint.tokenizer.vocab_size
    with pytest.raises(TinyLLMError, match="other tokens") as error:
        evaluate_checkpoint(CONFIG, checkpoint, tokens, tmp_path / "report", arithmetic)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report").exists()


def test_a_training_text_shorter_than_the_order_of_the_baseline_is_enough(
    checkpoint, tokens, arithmetic, tmp_path
):
    shutil.copytree(tokens, tmp_path / "tokens")
    meta = json.loads((tokens / "meta.json").read_text())
    shard = {"file": "train-00000.bin", "tokens": 3, "sha256": "0" * 64}
    meta["splits"]["train"] |= {"tokens": 3, "shards": [shard]}
    (tmp_path / "tokens" / "meta.json").write_text(json.dumps(meta))
    load_tokens(tokens, "train")[:3].tofile(tmp_path / "tokens" / "train-00000.bin")
    config = EvaluateConfig(sample_seeds=0, baseline_order=5)
    report = tmp_path / "report"
    metrics = evaluate_checkpoint(config, checkpoint, tmp_path / "tokens", report, arithmetic)
    assert metrics["baseline_bits_per_character"] > metrics["bits_per_character"]


def test_an_empty_test_split_is_refused_with_a_hint(checkpoint, arithmetic, text, tmp_path):
    tokens = encode(text, tmp_path, test_fraction=0)
    with pytest.raises(TinyLLMError, match=r"prepare\.test_fraction") as error:
        evaluate_checkpoint(CONFIG, checkpoint, tokens, tmp_path / "report", arithmetic)
    assert "evaluate.split to val" in str(error.value)
    assert not (tmp_path / "report").exists()


def test_a_split_shorter_than_a_window_is_refused(checkpoint, arithmetic, text, tmp_path):
    tokens = encode(text, tmp_path, test_fraction=0.0005)
    with pytest.raises(TinyLLMError, match="fewer than one window"):
        evaluate_checkpoint(CONFIG, checkpoint, tokens, tmp_path / "report", arithmetic)


def test_a_refusal_leaves_the_report_that_was_there(checkpoint, arithmetic, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "metrics.json").write_text("{}")
    with pytest.raises(TinyLLMError, match="Cannot read"):
        evaluate_checkpoint(CONFIG, checkpoint, tmp_path, tmp_path / "report", arithmetic)
    assert (tmp_path / "report" / "metrics.json").read_text() == "{}"


HISTORY = [
    {"step": step, "train_loss": 3.0 / step, "val_loss": 3.1 / step, "learning_rate": 0.01}
    for step in (20, 40, 60)
]


def test_curves_are_drawn_from_the_history_of_the_run(
    report, checkpoint, tokens, arithmetic, tmp_path
):
    write_csv(tmp_path / "history.csv", HISTORY)
    out, history = tmp_path / "report", tmp_path / "history.csv"
    metrics = evaluate_checkpoint(CONFIG, checkpoint, tokens, out, arithmetic, history)
    assert metrics == report[1]
    assert {path.name for path in out.iterdir()} == FILES | {"curves.png"}
    bits = [
        row | {key: row[key] / math.log(2) for key in ("train_loss", "val_loss")} for row in HISTORY
    ]
    draw_curves(bits, metrics["baseline_bits_per_character"], tmp_path / "expected.png")
    assert (out / "curves.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    for name in FILES:
        assert (out / name).read_bytes() == (report[0] / name).read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "Cannot read"), (b"step,train_loss\n20,abc\n", "is damaged: it is not a table")],
)
def test_a_history_that_cannot_be_read_is_refused_before_anything_is_written(
    checkpoint, tokens, arithmetic, tmp_path, content, words
):
    history = tmp_path / "history.csv"
    if content is not None:
        history.write_bytes(content)
    with pytest.raises(TinyLLMError, match=words):
        evaluate_checkpoint(CONFIG, checkpoint, tokens, tmp_path / "report", arithmetic, history)
    assert not (tmp_path / "report").exists()


def test_a_history_without_rows_draws_no_curves(checkpoint, tokens, arithmetic, tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("step,train_loss,val_loss\n")
    config = EvaluateConfig(sample_seeds=0, baseline_order=1)
    out = tmp_path / "report"
    evaluate_checkpoint(config, checkpoint, tokens, out, arithmetic, history)
    assert {path.name for path in out.iterdir()} == FILES


def test_a_part_of_the_split_is_measured_by_model_and_baseline_alike(
    checkpoint, tokens, arithmetic, tmp_path
):
    settings = {"sample_seeds": 0, "max_characters": 640, "baseline_characters": 8192}
    out = tmp_path / "report"
    metrics = evaluate_checkpoint(EvaluateConfig(**settings), checkpoint, tokens, out, arithmetic)
    assert metrics["scored_characters"] == 640
    assert metrics["baseline_characters"] == 8192
    assert metrics["characters"] == 2000
    fingerprint = json.loads((tokens / "meta.json").read_text())["splits"]["test"]["fingerprint"]
    assert metrics["fingerprint"] != fingerprint[:16]
    assert len(metrics["fingerprint"]) == 16
    held_out, train = (load_tokens(tokens, split) for split in ("test", "train"))
    loader = EvaluationLoader(
        OptimizedTextDataset(held_out, 32, "test"), 64, arithmetic.device, 640
    )
    loss = evaluate(checkpoint.model, loader, arithmetic)
    assert metrics["loss"] == pytest.approx(loss, abs=1e-6)
    baseline = KneserNeyModel(train, train.vocab_size, 5, 8192)
    bits = baseline.bits_per_token(held_out, loader.ranges())
    assert metrics["baseline_bits_per_character"] == pytest.approx(bits, abs=1e-6)
    assert {path.name for path in out.iterdir()} == FILES


def test_one_character_is_not_taken_for_all_of_them(tmp_path, arithmetic):
    words = "the house and the tree " * 300
    prepared = write_prepared(tmp_path / "prepared", train=words, val=words, test=words)
    tokenize_corpus(TokenizeConfig(kind="bpe", vocab_size=300), prepared, tmp_path / "tokens")
    tokenizer = load_tokenizer(tmp_path / "tokens/tokenizer.json")
    shape = ModelConfig(d_model=8, num_heads=1, num_layers=1, d_ff=8, sequence_length=16)
    weights = Transformer(shape, tokenizer.vocab_size).state_dict()
    checkpoint = Checkpoint.from_weights(weights, shape, tokenizer, arithmetic)
    config = EvaluateConfig(sample_seeds=0, max_characters=1)
    found = evaluate_checkpoint(
        config, checkpoint, tmp_path / "tokens", tmp_path / "out", arithmetic
    )
    assert found["tokens"] < found["characters"] / 2
    # a window of 16 tokens
    assert found["scored_characters"] == round(16 * found["characters"] / found["tokens"])


def test_what_is_measured_whole_names_no_part(report):
    names = {"scored_characters", "baseline_characters", "baseline_order"}
    assert not names & report[1].keys()


@pytest.mark.parametrize(("size", "order"), [(9_000, 4), (70_000, 3)])
def test_a_large_alphabet_is_measured_with_shorter_contexts(
    tmp_path, arithmetic, caplog, recwarn, size, order
):
    numbers = [number for number in range(0x3400, 0x20000) if not 0xD800 <= number < 0xE000]
    alphabet = "".join(map(chr, numbers[:size]))
    shape = ModelConfig(d_model=8, num_heads=1, num_layers=1, d_ff=8, sequence_length=16)
    tokenizer = CharacterTokenizer(alphabet)
    weights = Transformer(shape, tokenizer.vocab_size).state_dict()
    checkpoint = Checkpoint.from_weights(weights, shape, tokenizer, arithmetic)
    few = alphabet[:300]
    prepared = write_prepared(tmp_path / "prepared", train=alphabet, val=few, test=few)
    tokenize_corpus(TokenizeConfig(), prepared, tmp_path / "tokens")
    config = EvaluateConfig(prompts=[alphabet[:2]], sample_length=2)
    found = evaluate_checkpoint(
        config, checkpoint, tmp_path / "tokens", tmp_path / "out", arithmetic
    )
    assert found["baseline_bits_per_character"] > 0
    assert found["baseline_order"] == order
    assert not recwarn.list
    assert caplog.text == ""
