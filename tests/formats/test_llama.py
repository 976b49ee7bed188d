"""The real llama.cpp opens the GGUF files and agrees with the model."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.formats.test_gguf import PRECISIONS, drawn
from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.gguf import write_gguf
from tinyllm.formats.llama import LlamaRuntime
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import UNKNOWN_ID, CharacterTokenizer
from tinyllm.tokens.shards import load_tokens

pytest.importorskip("llama_cpp")

PROMPT, WRITTEN = 20, 200
# the largest difference of logits and of mean losses in nats, several times the measured ones
LOGIT_TOLERANCES = {"f32": 1e-4, "f16": 1e-2, "q8_0": 0.2}
LOSS_TOLERANCES = {"f32": 1e-6, "f16": 1e-4, "q8_0": 0.01}
LINES = [
    "What news, my lord?",
    "\n",
    "DUKE ORSMUND:\n\n\nI am come.\n",
    "a  b   c    d\n  e",
    " ",
    "     ",
    " What news , my lord ' s ?",
    "\n \n  ",
    "a<unk>b",
    "",
]


@pytest.fixture(scope="module")
def runtimes(checkpoint_folder, tmp_path_factory):
    """The small model, opened in llama.cpp once for each precision."""
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(load_checkpoint(checkpoint_folder), folder, ExportConfig(gguf_precisions=PRECISIONS))
    return {name: LlamaRuntime(folder / f"model-{name}.gguf") for name in PRECISIONS}


@pytest.fixture(scope="module")
def passage(text):
    return text[: PROMPT + WRITTEN]


@pytest.fixture(scope="module")
def learned(passage, arithmetic, tmp_path_factory):
    """A model that has memorized a passage, so that its continuation is unambiguous."""
    config = ModelConfig(d_model=64, num_heads=2, num_layers=2, d_ff=128, sequence_length=220)
    tokenizer = CharacterTokenizer(passage)
    model = Transformer(config, tokenizer.vocab_size)
    init_weights(model, torch.Generator().manual_seed(1))
    tokens = torch.from_numpy(tokenizer.encode(passage).astype(np.int64))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    threads = torch.get_num_threads()
    # faster for so small a model
    torch.set_num_threads(1)
    for _ in range(60):
        loss = F.cross_entropy(model(tokens[None, :-1])[0], tokens[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    folder = tmp_path_factory.mktemp("learned")
    checkpoint = Checkpoint(model.eval(), tokenizer, {})
    write_gguf(checkpoint, folder, ExportConfig(gguf_precisions=PRECISIONS))
    return checkpoint, folder


def native_logits(checkpoint, tokens):
    with torch.no_grad():
        return checkpoint.model(torch.tensor([tokens]))[0].numpy()


def mean_loss(logits, targets):
    losses = F.cross_entropy(torch.tensor(logits).double(), torch.tensor(targets))
    return losses.item()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("length", [1, 2, 31, 32])
def test_logits_agree_with_ours(runtimes, checkpoint, text, precision, length):
    tokens = checkpoint.tokenizer.encode(text[500 : 500 + length]).tolist()
    ours, theirs = native_logits(checkpoint, tokens), runtimes[precision].logits(tokens)
    assert theirs.shape == ours.shape == (length, checkpoint.tokenizer.vocab_size)
    assert np.abs(theirs - ours).max() < LOGIT_TOLERANCES[precision]


@pytest.mark.parametrize(
    "shape",
    [
        {"tie_embeddings": True},
        {"rope_theta": 50.0},
        {"norm_eps": 0.5},
        {"d_model": 48, "num_heads": 3, "d_ff": 40},
        {"d_model": 64, "num_heads": 4, "num_layers": 3},
        {"sequence_length": 600},
    ],
    ids=str,
)
def test_models_of_any_shape_agree(tmp_path, shape):
    checkpoint = drawn("".join(map(chr, range(32, 90))), **shape)
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=["f32"]))
    length = min(checkpoint.model.config.sequence_length, 600)
    tokens = torch.randint(59, (length,), generator=torch.Generator().manual_seed(2)).tolist()
    ours = native_logits(checkpoint, tokens)
    theirs = LlamaRuntime(tmp_path / "model-f32.gguf").logits(tokens)
    assert np.abs(theirs - ours).max() < 1e-4 * np.abs(ours).max()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_200_characters_are_written_as_the_model_writes_them(learned, passage, precision):
    checkpoint, folder = learned
    tokens = checkpoint.tokenizer.encode(passage).tolist()
    # if each character is the likeliest after the previous ones, they are what is written
    likeliest = native_logits(checkpoint, tokens)[:, UNKNOWN_ID + 1 :].argmax(axis=1)
    written = (likeliest[PROMPT - 1 : -1] + UNKNOWN_ID + 1).tolist()
    assert written == tokens[PROMPT:]
    runtime = LlamaRuntime(folder / f"model-{precision}.gguf")
    assert runtime.greedy(tokens[:PROMPT], WRITTEN, UNKNOWN_ID) == written


@pytest.mark.parametrize("precision", PRECISIONS)
def test_llama_cpp_alone_turns_text_into_the_same_text(learned, passage, precision):
    _, folder = learned
    runtime = LlamaRuntime(folder / f"model-{precision}.gguf")
    answer = runtime._llama.create_completion(
        passage[:PROMPT], max_tokens=WRITTEN, temperature=0.0
    )["choices"][0]
    assert answer["text"] == passage[PROMPT:]
    assert answer["finish_reason"] == "length"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loss_on_held_out_text_is_ours(runtimes, checkpoint, tokens, precision):
    held_out = np.concatenate([load_tokens(tokens, split) for split in ("val", "test")])
    windows = held_out[: len(held_out) // 33 * 33].astype(np.int64).reshape(-1, 33)
    assert windows.size > 2000
    targets = windows[:, 1:].reshape(-1)
    ours = np.concatenate([native_logits(checkpoint, row[:-1].tolist()) for row in windows])
    theirs = np.concatenate([runtimes[precision].logits(row[:-1].tolist()) for row in windows])
    assert mean_loss(ours, targets) < 3.0
    assert abs(mean_loss(theirs, targets) - mean_loss(ours, targets)) < LOSS_TOLERANCES[precision]
    # so that llama.cpp's sampler never draws the unknown token
    assert (theirs.argmax(axis=1) != UNKNOWN_ID).all()


@pytest.mark.parametrize("line", LINES)
def test_a_line_becomes_the_tokens_of_our_tokenizer(runtimes, checkpoint, line):
    ours = checkpoint.tokenizer.encode(line)
    assert runtimes["f32"].tokenize(line) == ours.tolist()


def test_the_sample_text_becomes_the_tokens_of_our_tokenizer(runtimes, checkpoint, text):
    assert runtimes["f32"].tokenize(text) == checkpoint.tokenizer.encode(text).tolist()


def test_letters_of_any_kind_are_separate_tokens(tmp_path):
    alphabet = "</s><eot>aàâe\u0301éœñß \t\n\r\u00a0\u3000\ufeff漢字😀👩\u200d🚀\ufffd"
    checkpoint = drawn(alphabet)
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=["f32"]))
    runtime = LlamaRuntime(tmp_path / "model-f32.gguf")
    for line in (alphabet, alphabet[::-1], "<s> </s><eot>", "é e\u0301  😀😀 \t\t漢"):
        assert runtime.tokenize(line) == checkpoint.tokenizer.encode(line).tolist()
    for token, char in enumerate(checkpoint.tokenizer.alphabet, start=1):
        assert runtime._llama.detokenize([token]).decode() == char


@pytest.mark.parametrize("unknown", ["\N{SNOWMAN}", "\N{PILE OF POO}", "\t", "\x00", "é\t☃"])
def test_a_run_of_unknown_characters_becomes_one_unknown_token(runtimes, checkpoint, unknown):
    a, b = (int(checkpoint.tokenizer.encode(char)[0]) for char in "ab")
    assert set(checkpoint.tokenizer.encode(unknown)) == {UNKNOWN_ID}
    expected = [UNKNOWN_ID, a, UNKNOWN_ID, b, b, UNKNOWN_ID]
    assert runtimes["f32"].tokenize(f"{unknown}a{unknown}{unknown}bb{unknown}") == expected


def test_a_runtime_starts_fresh_each_time(runtimes, checkpoint, text):
    first, second = (checkpoint.tokenizer.encode(text[i : i + 9]).tolist() for i in (0, 300))
    before = runtimes["f32"].logits(first), runtimes["f32"].greedy(first, 9)
    runtimes["f32"].greedy(second, 20)
    assert (runtimes["f32"].logits(first) == before[0]).all()
    assert runtimes["f32"].greedy(first, 9) == before[1]


def test_opening_a_file_prints_nothing(learned, capfd):
    LlamaRuntime(learned[1] / "model-f32.gguf").tokenize("a")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_llama_cpp_cannot_open_is_named(learned, tmp_path):
    data = (learned[1] / "model-f32.gguf").read_bytes()
    (tmp_path / "half.gguf").write_bytes(data[: len(data) // 2])
    for name in ("half.gguf", "nothing.gguf"):
        with pytest.raises(TinyLLMError, match=rf"llama.cpp cannot open .*{name}; export again"):
            LlamaRuntime(tmp_path / name)
