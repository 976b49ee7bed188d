"""The ONNX graph passes the standard's checks, and computes what torch does in two runtimes."""

from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from tests.sliding import sliding
from tinyllm.base.files import sha256
from tinyllm.formats.onnx_graph import write_onnx
from tinyllm.formats.tokenizer_json import huggingface_tokenizer, tokenizer_from_huggingface
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.tokenizer import CharacterTokenizer

ALPHABET = "abcdefghijkl"
VOCAB = len(ALPHABET) + 1
WINDOW = 16
SHAPES = {
    "untied": {"num_heads": 2, "tie_embeddings": False},
    "tied": {"num_heads": 2, "tie_embeddings": True},
    "one head": {"num_heads": 1, "tie_embeddings": False},
    "one layer": {"num_heads": 3, "num_layers": 1, "tie_embeddings": True},
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


@cache
def scrambled(shape):
    """A checkpoint without zero weights or equal norm weights."""
    settings = {"d_model": 24, "num_layers": 3, "d_ff": 40, "dropout": 0, "rope_theta": 500.0}
    config = ModelConfig(**settings | {"sequence_length": WINDOW} | SHAPES[shape])
    model = Transformer(config, VOCAB).eval()
    generator = torch.Generator().manual_seed(1)
    init_weights(model, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0, 0.3, generator=generator)
            else:
                parameter.normal_(0.0, 0.3, generator=generator)
    return Checkpoint(model, CharacterTokenizer(ALPHABET), {})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The export of each shape."""
    root = tmp_path_factory.mktemp("onnx")
    for shape in SHAPES:
        write_onnx(scrambled(shape), root / shape)
    return root


@pytest.fixture(scope="module")
def trained(checkpoint_folder, tmp_path_factory):
    """The export of the trained model."""
    folder = tmp_path_factory.mktemp("onnx") / "trained"
    write_onnx(load_checkpoint(checkpoint_folder), folder)
    return folder


def one_thread(path):
    # threads that wait for each other are very slow when tests run in parallel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


class Runtime:
    """Runs a graph and keeps the past."""

    def __init__(self, folder: Path, evaluator=None) -> None:
        self.graph = (evaluator or one_thread)(str(folder / "model.onnx"))
        proto = onnx.load(folder / "model.onnx").graph
        dims = next(entry for entry in proto.input if entry.name == "past_keys")
        layers, _, heads, _, width = (d.dim_value for d in dims.type.tensor_type.shape.dim)
        self.shape = (layers, heads, width)
        self.past = None

    def read(self, tokens, positions=None):
        """Read more tokens."""
        layers, heads, width = self.shape
        if self.past is None:
            empty = np.zeros((layers, len(tokens), heads, 0, width), np.float32)
            self.past = (empty, empty)
        if positions is None:
            first = self.past[0].shape[3]
            positions = np.arange(first, first + tokens.shape[1])[None].repeat(len(tokens), 0)
        inputs = {
            "input_ids": tokens.numpy(),
            "position_ids": positions,
            "past_keys": self.past[0],
            "past_values": self.past[1],
        }
        logits, *self.past = self.graph.run(None, inputs)
        return torch.from_numpy(logits)


def some_tokens(rows, length, vocab=VOCAB):
    return torch.randint(vocab, (rows, length), generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def expect(model, tokens, logits, first=0):
    expected = model(tokens)[:, first:]
    assert expected.std() > 0.1
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() < 2e-5


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 31, 32])
def test_the_trained_model_gives_the_same_logits(checkpoint, trained, rows, length):
    tokens = some_tokens(rows, length, checkpoint.tokenizer.vocab_size)
    expect(checkpoint.model, tokens, Runtime(trained).read(tokens))


@every_shape
@pytest.mark.parametrize("length", [1, 2, WINDOW - 1, WINDOW])
def test_every_shape_gives_the_same_logits(folders, shape, length):
    tokens = some_tokens(2, length)
    expect(scrambled(shape).model, tokens, Runtime(folders / shape).read(tokens))


@every_shape
@pytest.mark.parametrize("pieces", [[5, *[1] * 11], [5, 11], [1, 7, 3, 5], [15, 1]])
def test_reading_in_pieces_changes_nothing(folders, shape, pieces):
    tokens = some_tokens(2, WINDOW)
    runtime = Runtime(folders / shape)
    logits = [runtime.read(piece) for piece in tokens.split(pieces, dim=1)]
    expect(scrambled(shape).model, tokens, torch.cat(logits, dim=1))


@every_shape
@pytest.mark.parametrize("pieces", [[50], [20, 30], [40, *[1] * 10]])
def test_beyond_the_window_attention_slides(folders, shape, pieces):
    tokens = some_tokens(2, 50)
    runtime = Runtime(folders / shape)
    logits = torch.cat([runtime.read(piece) for piece in tokens.split(pieces, dim=1)], dim=1)
    expect(sliding(scrambled(shape).model, 50), tokens, logits)


def test_if_attention_did_not_slide_the_logits_would_differ():
    model, tokens = sliding(scrambled("tied").model, 50), some_tokens(2, 50)
    with torch.no_grad():
        before = model(tokens)
        model.window = 50
        assert torch.equal(model(tokens)[:, :WINDOW], before[:, :WINDOW])
        assert (model(tokens)[:, WINDOW:] - before[:, WINDOW:]).abs().max() > 0.1


def test_late_positions_are_as_exact_as_the_first(folders):
    tokens = some_tokens(1, WINDOW)
    near = Runtime(folders / "tied").read(tokens)
    positions = np.arange(WINDOW)[None]
    far = Runtime(folders / "tied").read(tokens, positions + 10**7)
    assert (far - near).abs().max() < 2e-5
    # that test would also pass if positions were ignored
    spread = Runtime(folders / "tied").read(tokens, positions * 2)
    assert (spread - near).abs().max() > 0.1


def test_each_row_has_its_own_positions(folders):
    tokens = some_tokens(1, 4)
    positions = np.array([[0, 1, 2, 3], [0, 2, 4, 6]])
    both = Runtime(folders / "tied").read(tokens.repeat(2, 1), positions)
    for row in range(2):
        alone = Runtime(folders / "tied").read(tokens, positions[row : row + 1])
        assert (both[row] - alone[0]).abs().max() < 2e-5


@every_shape
def test_the_standards_reference_gives_the_same_logits(folders, shape):
    tokens = some_tokens(2, 12)
    reference = Runtime(folders / shape, ReferenceEvaluator)
    logits = [reference.read(piece) for piece in tokens.split([5, 6, 1], dim=1)]
    expect(scrambled(shape).model, tokens, torch.cat(logits, dim=1))


@every_shape
def test_the_file_passes_the_full_check(folders, shape):
    onnx.checker.check_model(folders / shape / "model.onnx", full_check=True)


@every_shape
def test_every_name_is_used_and_nothing_is_transposed_at_run_time(folders, shape):
    graph = onnx.load(folders / shape / "model.onnx").graph
    used = {name for node in graph.node for name in node.input}
    assert used >= {tensor.name for tensor in graph.initializer}
    made = {name for node in graph.node for name in node.output}
    assert made - used == {"logits", "present_keys", "present_values"}
    assert [node.name for node in graph.node] == [node.output[0] for node in graph.node]
    assert "Transpose" not in {node.op_type for node in graph.node}


def test_weights_have_the_names_of_the_model(folders):
    model = scrambled("untied").model
    graph = onnx.load(folders / "untied" / "model.onnx").graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name, weight in model.state_dict().items():
        expected = weight if weight.ndim == 1 or name == "embedding.weight" else weight.T
        np.testing.assert_array_equal(tensors[name], expected, err_msg=name)


@every_shape
def test_two_exports_are_the_same_bytes(folders, shape, tmp_path):
    write_onnx(scrambled(shape), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "tokenizer.json"]
    for path in tmp_path.iterdir():
        # by digest: pytest would take minutes to show the difference
        assert sha256(path) == sha256(folders / shape / path.name)


def test_the_file_names_no_path_and_no_producer(folders):
    data = (folders / "tied" / "model.onnx").read_bytes()
    for place in (Path.cwd(), Path.home(), folders, Path(onnx.__file__).parent):
        assert data.count(str(place).encode()) == 0
    assert data.count(b".py") == 0
    model = onnx.load(folders / "tied" / "model.onnx")
    assert (model.producer_name, model.producer_version, model.doc_string) == ("", "", "")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts == {"format": "tinyllm-onnx-1", "sequence_length": str(WINDOW)}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 23)]


def test_the_tokenizer_is_beside_the_model(trained, checkpoint):
    back = tokenizer_from_huggingface(trained / "tokenizer.json")
    assert huggingface_tokenizer(back) == huggingface_tokenizer(checkpoint.tokenizer)
