"""The ONNX graph passes the standard's checks, and computes what torch does in two runtimes."""

import copy
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
from tinyllm.inference.checkpoint import Checkpoint, load_checkpoint
from tinyllm.model.config import ModelConfig
from tinyllm.model.initialization import init_weights
from tinyllm.model.transformer import Transformer
from tinyllm.tokens.characters import CharacterTokenizer

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
        (root / shape).mkdir()
        write_onnx(scrambled(shape).model, root / shape / "model.onnx")
    return root


@pytest.fixture(scope="module")
def trained(checkpoint_folder, tmp_path_factory):
    """The export of the trained model."""
    folder = tmp_path_factory.mktemp("onnx")
    write_onnx(load_checkpoint(checkpoint_folder).model, folder / "model.onnx")
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
        inputs = onnx.load(folder / "model.onnx").graph.input
        self.names = [entry.name for entry in inputs if entry.name.startswith("past_key_values.")]
        dims = next(entry for entry in inputs if entry.name == self.names[0])
        _, self.heads, _, self.width = (d.dim_value for d in dims.type.tensor_type.shape.dim)
        self.past = None
        self.mask = None

    def read(self, tokens, positions=None, mask=None):
        """Read more tokens; `mask` is zero where they are padding."""
        if self.past is None:
            empty = np.zeros((len(tokens), self.heads, 0, self.width), np.float32)
            self.past = [empty] * len(self.names)
            self.mask = np.zeros((len(tokens), 0), np.int64)
        if positions is None:
            first = self.mask.shape[1]
            positions = np.arange(first, first + tokens.shape[1])[None].repeat(len(tokens), 0)
        mask = np.ones(tokens.shape, np.int64) if mask is None else mask
        self.mask = np.concatenate([self.mask, mask], axis=1)
        inputs = {
            "input_ids": tokens.numpy(),
            "attention_mask": self.mask,
            "position_ids": positions,
            **dict(zip(self.names, self.past, strict=True)),
        }
        logits, *self.past = self.graph.run(None, inputs)
        return torch.from_numpy(logits)


def constants(folder):
    tensors = onnx.load(folder / "model.onnx").graph.initializer
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in tensors}


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
@pytest.mark.parametrize("pieces", [[20], [12, *[1] * 8], [3, 17]])
def test_padding_changes_nothing(folders, shape, pieces):
    tokens, padding = some_tokens(1, 12), 8
    padded = torch.cat([torch.zeros(1, padding, dtype=torch.int64), tokens], dim=1)
    mask = (np.arange(20) >= padding).astype(np.int64)[None]
    positions = np.maximum(np.arange(20) - padding, 0)[None]
    runtime, first, logits = Runtime(folders / shape), 0, []
    for length in pieces:
        part = slice(first, first + length)
        logits.append(runtime.read(padded[:, part], positions[:, part], mask[:, part]))
        first += length
    both = torch.cat(logits, dim=1)
    assert torch.isfinite(both).all()
    expect(scrambled(shape).model, tokens, both[:, padding:])


@every_shape
def test_weights_of_8_bits_are_the_weights_but_for_half_a_step(folders, shape, tmp_path):
    model = scrambled(shape).model
    write_onnx(model, tmp_path / "model.onnx", bits=8)
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    whole, eight = constants(folders / shape), constants(tmp_path)
    names = [name.removesuffix(".int8") for name in eight if name.endswith(".int8")]
    assert len(names) == 4 * model.config.num_layers + 1
    rounded = {name: eight[f"{name}.int8"] * eight[f"{name}.scales"] for name in names}
    for name in names:
        assert eight[f"{name}.int8"].dtype == np.int8
        assert (abs(rounded[name] - whole[name]) <= eight[f"{name}.scales"] * 0.501).all()
    # the standard's own reading: a model of these weights
    head = rounded.pop("lm_head.weight")
    other = copy.deepcopy(model)
    for name, weight in rounded.items():
        other.get_parameter(name).data = torch.from_numpy(weight.T.copy())
    other.lm_head = torch.nn.Linear(*head.shape, bias=False)
    other.lm_head.weight.data = torch.from_numpy(head.T.copy())
    tokens = some_tokens(2, 12)
    exact = Runtime(tmp_path, ReferenceEvaluator).read(tokens)
    expect(other, tokens, exact)
    # ONNX Runtime rounds what it multiplies the weights with, too
    assert (Runtime(tmp_path).read(tokens) - exact).abs().max() < 0.5


def test_an_output_without_weights_stays_without(tmp_path):
    model = scrambled("untied").model
    with torch.no_grad():
        before = model.lm_head.weight[3].clone()
        model.lm_head.weight[3] = 0
        write_onnx(model, tmp_path / "model.onnx", bits=8)
        model.lm_head.weight[3] = before
    assert Runtime(tmp_path).read(some_tokens(1, 5))[..., 3].abs().max() < 1e-5


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
    outputs = {entry.name for entry in graph.output}
    assert made - used == outputs
    layers = range(scrambled(shape).model.config.num_layers)
    present = {f"present.{layer}.{part}" for layer in layers for part in ("key", "value")}
    assert outputs == {"logits", *present}
    assert [node.name for node in graph.node] == [node.output[0] for node in graph.node]
    assert "Transpose" not in {node.op_type for node in graph.node}


@every_shape
def test_nothing_is_double_which_browsers_do_not_know(folders, shape):
    double = onnx.TensorProto.DOUBLE
    graph = onnx.load(folders / shape / "model.onnx").graph
    assert double not in {tensor.data_type for tensor in graph.initializer}
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert casts
    assert double not in {node.attribute[0].i for node in casts}


def test_weights_have_the_names_of_the_model(folders):
    model = scrambled("untied").model
    graph = onnx.load(folders / "untied" / "model.onnx").graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name, weight in model.state_dict().items():
        expected = weight if weight.ndim == 1 or name == "embedding.weight" else weight.T
        np.testing.assert_array_equal(tensors[name], expected, err_msg=name)


@every_shape
def test_two_exports_are_the_same_bytes(folders, shape, tmp_path):
    write_onnx(scrambled(shape).model, tmp_path / "again.onnx")
    # by digest: pytest would take minutes to show the difference
    assert sha256(tmp_path / "again.onnx") == sha256(folders / shape / "model.onnx")


def test_the_file_names_its_producer_and_no_path(folders):
    data = (folders / "tied" / "model.onnx").read_bytes()
    for place in (Path.cwd(), Path.home(), folders, Path(onnx.__file__).parent):
        assert data.count(str(place).encode()) == 0
    assert data.count(b".py") == 0
    model = onnx.load(folders / "tied" / "model.onnx")
    assert (model.producer_name, model.producer_version, model.doc_string) == ("tinyllm", "", "")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts == {"format": "tinyllm-onnx-2", "sequence_length": str(WINDOW)}
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 23)]
