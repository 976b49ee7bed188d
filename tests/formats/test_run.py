"""The export stage: what it writes, verifies, describes and refuses."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard

from tests.conftest import ROOT
from tests.formats.test_huggingface import contents
from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.onnx_graph import write_onnx
from tinyllm.formats.run import CARD, Source, export_checkpoint
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.tokens.characters import CharacterTokenizer

pytestmark = pytest.mark.medium


@pytest.fixture
def source(export_source):
    return export_source


@pytest.fixture(scope="module")
def exported(export_source, tmp_path_factory):
    """An export of the model, and its verdicts."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    return folder, export_checkpoint(ExportConfig(), export_source, folder)


@pytest.fixture
def without(monkeypatch):
    """Make packages appear to be missing."""
    real = metadata.version

    def hide(*packages):
        def version(name):
            if name in packages:
                raise metadata.PackageNotFoundError(name)
            return real(name)

        monkeypatch.setattr("tinyllm.formats.requirements.metadata.version", version)

    return hide


def test_all_formats_are_written(exported):
    folder, _ = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "gguf",
        "huggingface",
        "parity.json",
        "playground.html",
        "pyfunc",
    ]


def test_two_exports_are_the_same_bytes(exported, export_folder):
    # Python compiles the code if a test has opened the other one
    first, second = (
        {name: data for name, data in contents(folder).items() if "__pycache__" not in name}
        for folder in (exported[0], export_folder)
    )
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_no_file_names_a_path_or_a_person(exported):
    folder, _ = exported
    forbidden = [str(folder).encode(), str(Path.cwd()).encode(), b"/site-packages", b"/home/"]
    for name, data in contents(folder).items():
        assert not any(word in data for word in forbidden), name


def test_every_format_was_opened_and_agrees(exported):
    folder, verdicts = exported
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    assert [(entry["export"], entry["logits"]) for entry in parity] == [
        ("huggingface", "agree"),
        ("onnx/model.onnx", "agree"),
        ("onnx/model_quantized.onnx", "agree"),
        ("gguf/model-f32.gguf", "agree"),
        ("gguf/model-f16.gguf", "agree"),
        ("gguf/model-q8_0.gguf", "agree"),
        ("pyfunc", "agree"),
    ]
    assert [entry["runtime"] for entry in parity][:2] == ["transformers", "onnxruntime"]
    assert all(entry["greedy_text"] == "same" for entry in parity if entry["precision"] == "f32")
    assert all(entry["greedy_tokens"] == 200 for entry in parity)
    by_precision = {v.precision: v.max_difference for v in verdicts if "gguf" in v.export}
    assert by_precision["f32"] == 0
    assert 0 < by_precision["f16"] < by_precision["q8_0"]


def test_the_card_says_what_the_model_is_and_how_to_run_it(exported, source):
    folder, _ = exported
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"{source.checkpoint.model.num_parameters():,}" in card
    assert "2.25" in card
    assert f"| fingerprint | {'f' * 32} |" in card
    for word in ("transformers", "ONNX Runtime", "llama.cpp", "mlflow models serve", "playground"):
        assert word in card
    # no commit, no date: those are the registry's
    assert not re.search(r"20\d\d-\d\d|\b[0-9a-f]{40}\b", card)


def test_the_hub_reads_its_card(source, tmp_path):
    config = ExportConfig(formats=["huggingface", "onnx"], license="mit", languages=["en", "de"])
    export_checkpoint(config, source, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out/huggingface/README.md")
    facts = card.data
    assert (facts.license, facts.language) == ("mit", ["en", "de"])
    assert (facts.library_name, facts.pipeline_tag) == ("transformers", "text-generation")
    assert {"character-level", "qwen3", "onnx"} <= set(facts.tags)
    assert facts.model_name == "tinyllm"
    figures = {result.metric_type: result.metric_value for result in facts.eval_results}
    assert figures == {"bits_per_character": 2.25}
    assert {result.dataset_split for result in facts.eval_results} == {"test"}
    for word in ('from_pretrained(".")', "transformers.js", "fp32"):
        assert word in card.text
    assert "llama.cpp" not in card.text


def test_what_nobody_said_stands_in_no_card(source, tmp_path):
    export_checkpoint(ExportConfig(formats=["huggingface"]), source, tmp_path / "out")
    card = ModelCard.load(tmp_path / "out/huggingface/README.md")
    assert (card.data.license, card.data.language) == (None, None)
    assert "licence" not in card.text


def test_the_registry_has_the_folder_for_the_hub_too(exported):
    folder, _ = exported
    whole = contents(folder / "huggingface")
    assert {"README.md", "onnx/model.onnx", "onnx/model_quantized.onnx"} <= whole.keys()
    assert contents(folder / "pyfunc/artifacts/huggingface") == whole


def test_ollama_takes_the_best_file_that_there_is(source, tmp_path):
    window = source.checkpoint.model.config.sequence_length
    for precisions, best in ((["q8_0", "f16", "f32"], "f16"), (["q8_0", "f32"], "f32")):
        config = ExportConfig(formats=["gguf"], gguf_precisions=precisions)
        export_checkpoint(config, source, tmp_path / best)
        lines = (tmp_path / best / "gguf/Modelfile").read_text().splitlines()
        assert lines[0] == f"FROM ./model-{best}.gguf"
        assert (tmp_path / best / "gguf" / lines[0].removeprefix("FROM ./")).is_file()
        assert {f"PARAMETER num_ctx {window}", "PARAMETER repeat_penalty 1.0"} <= set(lines)


def test_only_configured_formats_are_written(source, tmp_path):
    config = ExportConfig(formats=["gguf"], gguf_precisions=["f16"])
    export_checkpoint(config, source, tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [
        "README.md",
        "gguf/Modelfile",
        "gguf/model-f16.gguf",
        "parity.json",
    ]


@pytest.mark.parametrize(
    ("packages", "words"),
    [
        (["onnx"], ["export.formats", "onnx", "tinyllm[export]"]),
        (["gguf"], ["export.formats", "gguf", "tinyllm[export]"]),
        (["transformers"], ["export.verify_with", "transformers", "tinyllm[export]"]),
        (["onnxruntime"], ["export", "onnxruntime", "tinyllm[export]"]),
    ],
)
def test_a_missing_program_is_named_with_its_extra(source, tmp_path, without, packages, words):
    without(*packages)
    with pytest.raises(TinyLLMError) as caught:
        export_checkpoint(ExportConfig(), source, tmp_path / "out")
    assert all(word in str(caught.value) for word in words)
    assert list(tmp_path.iterdir()) == []


def test_without_the_optional_packages_the_stage_still_starts():
    """Importing one of them fails."""
    program = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'gguf', 'transformers', 'llama_cpp'):\n"
        "    sys.modules[name] = None\n"
        "import tinyllm.formats.run, tinyllm.formats.load, tinyllm.formats.command\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_llama_has_a_separate_extra(source, tmp_path, without):
    without("llama-cpp-python")
    config = ExportConfig(formats=["gguf"], verify_with=["llama.cpp"])
    with pytest.raises(TinyLLMError, match=r"llama\.cpp.*tinyllm\[llama\]"):
        export_checkpoint(config, source, tmp_path / "out")


def test_the_rest_is_exported_when_params_allow_it(source, tmp_path, without):
    without("onnx", "transformers")
    config = ExportConfig(skip_missing=True)
    verdicts = export_checkpoint(config, source, tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"README.md", "gguf", "huggingface", "parity.json", "playground.html"}
    assert {verdict.runtime for verdict in verdicts} == {"read-back"}


def test_a_program_that_no_format_needs_may_be_missing(source, tmp_path, without):
    without("transformers", "onnxruntime", "onnx")
    export_checkpoint(ExportConfig(formats=["gguf"]), source, tmp_path / "out")
    assert (tmp_path / "out/gguf/model-f32.gguf").is_file()


def test_an_alphabet_that_gguf_cannot_hold_is_refused_before_anything_is_written(source, tmp_path):
    tokenizer = CharacterTokenizer(source.checkpoint.tokenizer.alphabet[:-1] + "\u2581")
    checkpoint = Checkpoint(source.checkpoint.model, tokenizer, {})
    with pytest.raises(TinyLLMError, match=r"U\+2581"):
        export_checkpoint(ExportConfig(), Source(checkpoint, source.held_out), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_differs_leaves_the_old_folder(source, tmp_path, monkeypatch):
    old = tmp_path / "out"
    old.mkdir()
    (old / CARD).write_text("# A character-level language model\n")

    def wrong_write(model, path, bits):
        with torch.no_grad():
            weight = model.blocks[0].attention.o_proj.weight
            before = weight.clone()
            weight[0, 0] += 1
            write_onnx(model, path, bits)
            # the model is shared; adding and subtracting one would leave a rounding error
            weight.copy_(before)

    monkeypatch.setattr("tinyllm.formats.onnx_graph.write_onnx", wrong_write)
    with pytest.raises(TinyLLMError, match=r"onnx/model\.onnx disagrees with the model"):
        export_checkpoint(ExportConfig(formats=["onnx"]), source, old)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", CARD]


@pytest.fixture
def disk(tmp_path):
    """Mount a file system with the options given."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [("size=256k", "No space left on device"), ("ro", "Read-only file system")],
)
def test_a_full_disk_leaves_no_half_written_folder(source, disk, options, reason):
    target = disk(options) / "out"
    with pytest.raises(TinyLLMError, match=rf"^Cannot write .*{reason}\.$"):
        export_checkpoint(ExportConfig(), source, target)
    assert list(target.parent.iterdir()) == []
