"""Texts from ONNX Runtime equal the model's, alone or in a batch, of any length."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.sliding import sliding
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import write_json
from tinyllm.formats.closure import import_closure
from tinyllm.formats.onnx_graph import write_onnx
from tinyllm.formats.onnx_model import GRAPH, load_onnx
from tinyllm.formats.tokenizer_json import huggingface_tokenizer
from tinyllm.inference.checkpoint import load_checkpoint
from tinyllm.tokens.characters import CharacterTokenizer

WINDOW = 32


@pytest.fixture(scope="module")
def folder(checkpoint_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx")
    checkpoint = load_checkpoint(checkpoint_folder)
    (path / GRAPH).parent.mkdir()
    write_onnx(checkpoint.model, path / GRAPH)
    write_json(path / "tokenizer.json", huggingface_tokenizer(checkpoint.tokenizer))
    return path


@pytest.fixture(scope="module")
def model(folder):
    return load_onnx(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@torch.no_grad()
def sliding_logits(checkpoint, tokens):
    """Logits after every token of a text of any length, computed in one pass without a cache."""
    longer = sliding(checkpoint.model, len(tokens))
    return longer(torch.tensor([tokens]))[0].numpy()


def encoded(model, text):
    return model.tokenizer.encode(text).tolist()


def write_greedily(reader, prompts, count):
    """`count` tokens for each prompt."""
    logits, written = reader.start(prompts), []
    for _ in range(count):
        written.append(logits.argmax(axis=1).tolist())
        logits = reader.step(written[-1])
    return [list(row) for row in zip(*written, strict=True)]


def assert_one_sentence(error):
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert not message.endswith("..")


def test_the_model_knows_its_tokenizer_and_its_window(model, checkpoint):
    assert model.tokenizer.alphabet == checkpoint.tokenizer.alphabet
    assert model.window == WINDOW


@pytest.mark.parametrize("length", [1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW, 150])
def test_nothing_of_a_prompt_is_skipped(model, checkpoint, text, length):
    tokens = encoded(model, text[:length])
    logits = model.reader().start([tokens])
    assert logits.shape == (1, checkpoint.tokenizer.vocab_size)
    assert logits.dtype == np.float32
    assert abs(logits[0] - sliding_logits(checkpoint, tokens)[-1]).max() < 2e-5


def test_text_beyond_the_window_of_a_prompt_still_counts(model, text):
    tokens = encoded(model, text[:50])
    whole, end = (model.reader().start([part])[0] for part in (tokens, tokens[-WINDOW:]))
    assert abs(whole - end).max() > 1e-3


@pytest.mark.parametrize("prompt", [1, WINDOW - 2, WINDOW, 75])
def test_step_by_step_attention_slides(model, checkpoint, text, prompt):
    tokens = encoded(model, text[:150])
    reader = model.reader()
    logits = [reader.start([tokens[:prompt]])[0]]
    logits += [reader.step([token])[0] for token in tokens[prompt:]]
    expected = sliding_logits(checkpoint, tokens)[prompt - 1 :]
    assert abs(np.stack(logits) - expected).max() < 2e-5


def test_what_no_character_can_attend_to_is_forgotten(model, text):
    reader = model.reader()
    reader.start([encoded(model, text[:100])])
    for _ in range(3 * WINDOW):
        reader.step([3])
        # rounded up to a whole register
        assert all(WINDOW - 1 <= values.shape[2] < WINDOW + 16 for values in reader._past)


def test_a_text_does_not_depend_on_the_others(model, text):
    prompts = [encoded(model, text[start : start + start + 1]) for start in (0, 7, 40, 13)]
    together = model.reader().start(prompts)
    for row, prompt in enumerate(prompts):
        np.testing.assert_array_equal(model.reader().start([prompt])[0], together[row])
    written = write_greedily(model.reader(), prompts, 40)
    assert len({tuple(row) for row in written}) > 1
    for row, prompt in enumerate(prompts):
        assert write_greedily(model.reader(), [prompt], 40) == [written[row]]


@pytest.mark.parametrize("others", [[1], [15], [16, 17], [1, 31, 32, 33], [5] * 19, [100, 1]])
def test_every_logit_is_the_same_to_the_bit_in_any_company(model, text, others):
    tokens = encoded(model, text[:120])
    for length in (1, 7, 16, WINDOW - 1, WINDOW, 60):
        alone, together = model.reader(), model.reader()
        expected = [alone.start([tokens[:length]])[0]]
        company = [tokens[:length], *(tokens[10:][:other] for other in others)]
        found = [together.start(company)[0]]
        for token in tokens[length : length + 50]:
            expected.append(alone.step([token])[0])
            found.append(together.step([token] + [3] * len(others))[0])
        np.testing.assert_array_equal(np.stack(found), np.stack(expected))


def test_greedy_text_is_that_of_the_model(model, checkpoint):
    tokens = encoded(model, "What")
    written = write_greedily(model.reader(), [tokens], 100)[0]
    expected = sliding_logits(checkpoint, tokens + written).argmax(axis=1)
    assert written == expected[len(tokens) - 1 : -1].tolist()
    assert len(set(written)) > 1


def test_a_start_forgets_everything(model, text):
    reader, prompt = model.reader(), encoded(model, "Good")
    fresh = reader.start([prompt])
    reader.start([encoded(model, text[:60]), prompt])
    reader.step([3, 4])
    np.testing.assert_array_equal(reader.start([prompt]), fresh)


def test_readers_of_one_model_do_not_interfere(model):
    first, second = model.reader(), model.reader()
    first.start([encoded(model, "Good")])
    second.start([encoded(model, "What news")])
    alone = model.reader()
    alone.start([encoded(model, "Good")])
    np.testing.assert_array_equal(first.step([5]), alone.step([5]))


def test_more_threads_give_the_same_text(model, folder):
    prompts = [encoded(model, "What"), encoded(model, "My lord")]
    expected = write_greedily(model.reader(), prompts, 50)
    faster = load_onnx(folder, threads=2)
    assert faster._session.get_session_options().intra_op_num_threads == 2
    assert write_greedily(faster.reader(), prompts, 50) == expected


def test_there_must_be_something_to_read_in_every_text(model):
    reader = model.reader()
    with pytest.raises(ValueError, match="at least one token"):
        reader.start([[3], []])
    reader.start([[3], [4]])
    with pytest.raises(ValueError, match="one token for each"):
        reader.step([5])


def test_neither_torch_nor_onnx_is_needed(folder):
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'onnx', 'mlflow']))\n"
        "from pathlib import Path\n"
        "from tinyllm.formats.onnx_model import load_onnx\n"
        "reader = load_onnx(Path(sys.argv[1])).reader()\n"
        "reader.start([[1, 2]]); print(reader.step([3]).shape[0])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_few_modules_are_included():
    carried = {path.stem for path in import_closure("tinyllm.formats.onnx_model")}
    assert carried == {
        "__init__",
        "byte_level",
        "byte_pairs",
        "characters",
        "code_points",
        "config",
        "documents",
        "errors",
        "files",
        "learn_pairs",
        "onnx_model",
        "pieces",
        "section",
        "streams",
        "tokenizer_json",
        "tokenizer",
    }


def test_without_onnx_runtime_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(TinyLLMError, match=r"pip install 'tinyllm\[export\]'") as error:
        load_onnx(folder)
    assert_one_sentence(error)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TinyLLMError, match=r"no ONNX model at .*nowhere") as error:
        load_onnx(tmp_path / "nowhere")
    assert_one_sentence(error)


@pytest.mark.parametrize("file", [GRAPH, "tokenizer.json"])
@pytest.mark.parametrize("data", [None, b"", b"\xff" * 500, "half"])
def test_a_damaged_file_is_named(copy, file, data, capfd):
    path = copy / file
    if data == "half":
        data = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(TinyLLMError, match=file) as error:
        load_onnx(copy)
    assert_one_sentence(error)
    assert capfd.readouterr() == ("", "")


def test_an_unreadable_file_is_named(folder, monkeypatch):
    read = Path.read_bytes

    def refuse(path):
        if path.name == "model.onnx":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(TinyLLMError, match=r"Cannot read .*model\.onnx: Permission") as error:
        load_onnx(folder)
    assert_one_sentence(error)


def test_a_foreign_model_is_refused(copy):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Neg", ["x"], ["y"])
    graph = helper.make_graph([node], "foreign", values[:1], values[1:])
    opset = helper.make_opsetid("", 23)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=11), copy / GRAPH)
    with pytest.raises(TinyLLMError, match="not a model that this program wrote") as error:
        load_onnx(copy)
    assert_one_sentence(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [("format", "tinyllm-onnx-1"), ("sequence_length", ""), ("sequence_length", "9" * 30)],
)
def test_a_model_with_other_facts_is_refused(copy, key, value):
    model = onnx.load(copy / GRAPH)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, facts | {key: value})
    onnx.save(model, copy / GRAPH)
    with pytest.raises(TinyLLMError, match="not a model that this program wrote") as error:
        load_onnx(copy)
    assert_one_sentence(error)


def test_the_tokenizer_of_another_model_is_refused(copy):
    write_json(copy / "tokenizer.json", huggingface_tokenizer(CharacterTokenizer("abc")))
    with pytest.raises(TinyLLMError, match=r"does not fit the .*tokenizer\.json") as error:
        load_onnx(copy)
    assert_one_sentence(error)
