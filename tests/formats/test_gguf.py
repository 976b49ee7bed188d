"""The GGUF files, read back, hold the model; llama.cpp is not needed here."""

from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.gguf import check_gguf, write_gguf
from tinyllm.formats.gguf_reader import read_gguf, verify_gguf
from tinyllm.formats.llama import LlamaRuntime
from tinyllm.formats.qwen3 import to_huggingface
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

PRECISIONS = ["f32", "f16", "q8_0"]
# the largest difference of logits; rounding must cause at least a tenth of it
TOLERANCES = {"f32": 0.0, "f16": 5e-3, "q8_0": 0.1}


def drawn(tokenizer="abc \n", **shape):
    """A checkpoint with random weights everywhere, in the norms too."""
    config = ModelConfig(
        **({"d_model": 32, "num_heads": 1, "num_layers": 1, "d_ff": 64} | shape | {"dropout": 0.0})
    )
    if isinstance(tokenizer, str):
        tokenizer = CharacterTokenizer(tokenizer)
    model = Transformer(config, tokenizer.vocab_size).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return Checkpoint(model, tokenizer, {})


def expected_weights(checkpoint):
    weights = to_huggingface(checkpoint.model.state_dict(), checkpoint.model.config)
    return {name: tensor.numpy() for name, tensor in weights.items()}


def fields(path):
    entries = gguf.GGUFReader(path).fields.items()
    return {key: entry.contents() for key, entry in entries if not key.startswith("GGUF.")}


@pytest.fixture(scope="module")
def folder(checkpoint_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf")
    write_gguf(load_checkpoint(checkpoint_folder), path, ExportConfig(gguf_precisions=PRECISIONS))
    return path


@pytest.fixture
def some_tokens(checkpoint, text):
    tokens = checkpoint.tokenizer.encode(text[: 8 * 32]).astype(np.int64)
    return torch.from_numpy(tokens).view(8, 32)


def test_the_folder_holds_one_file_for_each_precision(folder, checkpoint, tmp_path):
    expected = [f"model-{precision}.gguf" for precision in ("f16", "f32", "q8_0")]
    assert sorted(path.name for path in folder.iterdir()) == expected
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=["f16"]))
    assert [path.name for path in tmp_path.iterdir()] == ["model-f16.gguf"]


@pytest.mark.parametrize(("precision", "kind"), [("f32", np.float32), ("f16", np.float16)])
def test_matrices_are_rounded_and_norms_are_not(folder, checkpoint, precision, kind):
    found = read_gguf(folder / f"model-{precision}.gguf")
    expected = expected_weights(checkpoint)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        rounded = array if array.ndim == 1 else array.astype(kind).astype(np.float32)
        assert (found[name].dtype, found[name].shape) == (np.float32, array.shape)
        assert found[name].tobytes() == rounded.tobytes(), name


def test_q8_0_is_at_most_half_a_step_away(folder, checkpoint):
    found = read_gguf(folder / "model-q8_0.gguf")
    for name, array in expected_weights(checkpoint).items():
        if array.ndim == 1:
            assert found[name].tobytes() == array.tobytes(), name
            continue
        blocks, back = array.reshape(-1, 32), found[name].reshape(-1, 32)
        step = np.abs(blocks).max(axis=1, keepdims=True) / 127
        # the step itself is stored with 11 bits, and its error multiplied by up to 127
        assert (np.abs(back - blocks) <= step * (0.5 + 127 / 2**11) + 1e-6).all(), name
        assert (np.abs(back - blocks) > step * 0.4).any(), name
        assert np.abs(back).max(axis=1) == pytest.approx(np.abs(blocks).max(axis=1), rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_only_matrices_are_packed(folder, precision):
    for tensor in gguf.GGUFReader(folder / f"model-{precision}.gguf").tensors:
        packed = "norm" not in tensor.name
        kind = GGMLQuantizationType[precision.upper() if packed else "F32"]
        assert tensor.tensor_type == kind, tensor.name


def test_the_tensors_have_the_names_of_llama_cpp(folder):
    tensors = gguf.GGUFReader(folder / "model-f32.gguf").tensors
    block = ["attn_norm", "attn_output", "attn_q_norm", "attn_k_norm", "ffn_norm", "ffn_down"]
    block += ["attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"]
    names = ["token_embd.weight", "output_norm.weight", "output.weight"]
    names += [f"blk.{layer}.{name}.weight" for layer in range(2) for name in block]
    assert sorted(tensor.name for tensor in tensors) == sorted(names)


def test_tied_embeddings_leave_the_output_layer_out(tmp_path):
    checkpoint = drawn(tie_embeddings=True)
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=PRECISIONS))
    path = tmp_path / "model-f32.gguf"
    assert all(tensor.name != "output.weight" for tensor in gguf.GGUFReader(path).tensors)
    assert verify_gguf(checkpoint, path, "f32", torch.tensor([[1, 2, 3, 4, 5]])) == 0.0
    assert read_gguf(path).keys() == expected_weights(checkpoint).keys()


@pytest.mark.parametrize(("precision", "file_type"), [("f32", 0), ("f16", 1), ("q8_0", 7)])
def test_the_metadata_describes_the_model_and_nothing_else(tmp_path, precision, file_type):
    shape = {"d_model": 64, "num_heads": 2, "num_layers": 3, "d_ff": 96, "sequence_length": 40}
    checkpoint = drawn("b a\n", **shape, rope_theta=500.0, norm_eps=0.25)
    said = {"model_name": "duke", "license": "mit", "author": "A. B.", "languages": ["en", "de"]}
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=[precision], **said))
    parameters = checkpoint.model.num_parameters()
    assert fields(tmp_path / f"model-{precision}.gguf") == {
        "general.architecture": "qwen3",
        "general.type": "model",
        "general.name": "duke",
        "general.author": "A. B.",
        "general.license": "mit",
        "general.languages": ["en", "de"],
        "general.tags": ["text-generation", "character-level"],
        "general.description": f"A character-level language model of {parameters:,} parameters.",
        "general.file_type": file_type,
        "general.quantization_version": 2,
        "qwen3.context_length": 40,
        "qwen3.embedding_length": 64,
        "qwen3.block_count": 3,
        "qwen3.feed_forward_length": 96,
        "qwen3.attention.head_count": 2,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 32,
        "qwen3.attention.value_length": 32,
        "qwen3.attention.layer_norm_rms_epsilon": 0.25,
        "qwen3.rope.freq_base": 500.0,
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": ["<|endoftext|>", "\n", "\u2581", "a", "b"],
        "tokenizer.ggml.scores": [0.0, -1.0, -1.0, -1.0, -1.0],
        "tokenizer.ggml.token_type": [3, 1, 1, 1, 1],
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.remove_extra_whitespaces": False,
    }


def test_what_nobody_said_is_left_out(folder):
    known = fields(folder / "model-f16.gguf")
    assert not known.keys() & {"general.author", "general.license", "general.languages"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_two_exports_are_the_same_bytes(folder, checkpoint, tmp_path, precision):
    write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=[precision]))
    name = f"model-{precision}.gguf"
    # compared as a boolean, since pytest would take minutes to show the difference
    same = (folder / name).read_bytes() == (tmp_path / name).read_bytes()
    assert same


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verification_measures_the_rounding(folder, checkpoint, some_tokens, precision):
    cost = verify_gguf(checkpoint, folder / f"model-{precision}.gguf", precision, some_tokens)
    assert TOLERANCES[precision] / 10 <= cost <= TOLERANCES[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["embedding.weight", "blocks.1.feed_forward_norm.weight"])
def test_verification_finds_one_changed_weight(folder, checkpoint, some_tokens, precision, name):
    checkpoint.model.state_dict()[name].view(-1)[3] += 0.05
    with pytest.raises(TinyLLMError, match=r"weight in .*\.gguf is not the checkpoint's"):
        verify_gguf(checkpoint, folder / f"model-{precision}.gguf", precision, some_tokens)


@pytest.mark.parametrize(("held", "promised"), [("f16", "f32"), ("q8_0", "f16")])
def test_verification_finds_less_precision_than_promised(
    folder, checkpoint, some_tokens, held, promised
):
    with pytest.raises(TinyLLMError, match="is not the checkpoint's"):
        verify_gguf(checkpoint, folder / f"model-{held}.gguf", promised, some_tokens)


def test_verification_finds_another_alphabet(folder, checkpoint, some_tokens):
    alphabet = checkpoint.tokenizer.alphabet.replace("a", "\N{SNOWMAN}")
    other = replace(checkpoint, tokenizer=CharacterTokenizer(alphabet))
    with pytest.raises(TinyLLMError, match="other tokens"):
        verify_gguf(other, folder / "model-f32.gguf", "f32", some_tokens)


@pytest.mark.parametrize("entry", [{"rope_theta": 10001.0}, {"norm_eps": 2e-6}])
def test_verification_finds_another_shape(folder, checkpoint, some_tokens, entry):
    checkpoint.model.config = checkpoint.model.config.model_copy(update=entry)
    with pytest.raises(TinyLLMError, match="describes another model"):
        verify_gguf(checkpoint, folder / "model-f32.gguf", "f32", some_tokens)


@pytest.mark.parametrize("shape", [{"d_model": 48}, {"d_ff": 80}])
def test_q8_0_needs_widths_that_are_multiples_of_32(tmp_path, shape):
    (name, width), *_ = shape.items()
    sentence = (
        f"export.gguf_precisions holds q8_0, which packs 32 numbers at a time, but model.{name} is "
        f"{width}; make it a multiple of 32 or leave q8_0 out."
    )
    checkpoint = drawn(**shape)
    with pytest.raises(TinyLLMError) as error:
        write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=["f32", "q8_0"]))
    assert str(error.value) == sentence
    assert list(tmp_path.iterdir()) == []
    check_gguf(checkpoint, ["f32", "f16"])


def test_an_alphabet_with_the_sign_for_a_space_is_refused(tmp_path):
    with pytest.raises(TinyLLMError, match=r"U\+2581, which llama.cpp takes for a space; take"):
        write_gguf(drawn("ab\u2581"), tmp_path, ExportConfig(gguf_precisions=["f32"]))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TinyLLMError, match=r"gguf package .* pip install 'tinyllm\[export\]'"):
        write_gguf(checkpoint, tmp_path, ExportConfig(gguf_precisions=["f32"]))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_llama_cpp_is_named(folder, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(TinyLLMError, match=r"llama-cpp-python .* pip install 'tinyllm\[llama\]'"):
        LlamaRuntime(folder / "model-f32.gguf")


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.01, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder, tmp_path, share):
    data = (folder / "model-f16.gguf").read_bytes()
    path = tmp_path / "model.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(TinyLLMError, match="is damaged, or not a file that this program wrote"):
        read_gguf(path)


def test_what_is_not_a_gguf_file_is_refused(tmp_path):
    with pytest.raises(TinyLLMError, match=r"Cannot read .*No such file"):
        read_gguf(tmp_path / "nothing.gguf")
    path = tmp_path / "text.gguf"
    path.write_text("What news, my lord?" * 100)
    with pytest.raises(TinyLLMError, match="is damaged"):
        read_gguf(path)
