"""Bad input gets one sentence and the right exit code, and loses nothing."""

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from tinyllm.app.cli import main
from tinyllm.base.command import run_stage

pytestmark = pytest.mark.medium

SMALL = ["--d-model=32", "--num-heads=1", "--num-layers=1", "--d-ff=32", "--max-steps=2"]
SMALL += ["--warmup-steps=0", "--batch-size=2", "--no-progress"]


def tinyllm(*arguments: object) -> Result:
    """Run a command as at the prompt."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_refused(result: Result, exit_code: int, *words: str) -> None:
    """One sentence on standard error, no traceback, the exit code as promised."""
    assert result.exit_code == exit_code, result.output
    message = result.stderr.strip()
    assert message.startswith("Error: "), message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message, message


def train(tokens: Path, out: Path, *flags: str) -> Result:
    """Train a very small model by hand."""
    reports = out.parent / "reports"
    return tinyllm("train", "--tokens", tokens, "--out", out, "--reports", reports, *SMALL, *flags)


def test_a_missing_corpus(workspace):
    result = tinyllm("prepare", "--source", "nowhere", "--out", "out")
    assert_refused(result, 1, "nowhere", "prepare.source")
    assert not Path("out").exists()


def test_an_empty_corpus(workspace):
    Path("empty.txt").touch()
    assert_refused(tinyllm("prepare", "--source", "empty.txt", "--out", "out"), 1, "empty")


def test_a_folder_without_text(workspace):
    Path("folder").mkdir()
    assert_refused(tinyllm("prepare", "--source", "folder", "--out", "out"), 1, "*.txt")


def test_undecodable_bytes_are_named_by_file_and_offset(workspace):
    Path("latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    result = tinyllm("prepare", "--source", "latin.txt", "--out", "out")
    assert_refused(result, 1, "latin.txt", "0xe9", "offset 3", "prepare.encoding")


def test_a_corpus_shorter_than_the_context(workspace):
    Path("short.txt").write_text("brief " * 10, encoding="utf-8")
    assert tinyllm("prepare", "--source", "short.txt", "--out", "p").exit_code == 0
    assert tinyllm("tokenize", "--prepared", "p", "--out", "t").exit_code == 0
    refused = train(Path("t"), Path("model"), "--no-tracking")
    assert_refused(refused, 1, "model.sequence_length", "48 characters")


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--learning-rate=-1", ("train.learning_rate", "greater than 0")),
        ("--learning-rate=fast", ("train.learning_rate", "number")),
        ("--max-steps=2.5", ("train.max_steps",)),
        ("--dropout=1.5", ("model.dropout", "less than 1")),
        ("--num-heads=5", ("num_heads (5)", "d_model (32)")),
        ("--optimizer=sgd", ("train.optimizer", "muon")),
        ("--mode=portable --device=cuda", ("portable", "cuda", "fast")),
    ],
)
def test_a_flag_out_of_range(tokens, workspace, flag, words):
    assert_refused(train(tokens, Path("model"), *flag.split()), 2, *words)
    assert not Path("model").exists()


def test_an_unknown_flag_is_a_usage_error(workspace):
    result = tinyllm("train", "--lerning-rate=1")
    assert result.exit_code == 2
    assert "--learning-rate" in result.stderr


@pytest.mark.parametrize("spelling", ["1e-1", "1E-1", "0.1", "1.0e-01", ".1"])
def test_a_number_may_be_spelled_as_people_spell_it(text, workspace, spelling):
    Path("play.txt").write_text(text, encoding="utf-8")
    flags = ["--source=play.txt", "--out=out", f"--val-fraction={spelling}"]
    result = tinyllm("prepare", *flags)
    assert result.exit_code == 0, result.output
    assert len(Path("out/val-00000.txt").read_text(encoding="utf-8")) == len(text) / 10


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", {"lerning_rate": 0.1}, ("train.lerning_rate", "did you mean learning_rate?")),
        ("train", {"learning_rate": True}, ("train.learning_rate", "True")),
        ("train", {"max_steps": 3.7}, ("train.max_steps", "3.7")),
        ("trian", {"max_steps": 3}, ("trian", "not a known section")),
        ("model", {"d_model": 30, "num_heads": 4}, ("num_heads (4)", "d_model (30)")),
    ],
)
@pytest.mark.parametrize("stage", ["prepare", "tokenize", "train", "evaluate", "export"])
def test_a_bad_params_file_stops_every_stage(workspace, capsys, section, values, words, stage):
    Path("params.yaml").write_text(yaml.safe_dump({section: values}), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        run_stage(main.get_command(None, stage), {"--out": "out"})
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("Error: ")
    assert len(message.splitlines()) == 1
    for word in (*words, "in params.yaml"):
        assert word in message


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_missing_checkpoint(tokens, workspace, command):
    folder = ["--evaluation", "none"] if command == "export" else []
    result = tinyllm(
        command, "--checkpoint", "nowhere", "--tokens", tokens, "--out", "out", *folder
    )
    assert_refused(result, 1, "nowhere", "train stage")


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_a_truncated_checkpoint(tokens, checkpoint_folder, workspace, command):
    shutil.copytree(checkpoint_folder, "model")
    weights = Path("model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    folder = ["--evaluation", "none"] if command == "export" else []
    result = tinyllm(command, "--checkpoint", "model", "--tokens", tokens, "--out", "out", *folder)
    assert_refused(result, 1, "model.safetensors")
    assert not Path("out").exists()


@pytest.mark.parametrize("uri", ["models:/tinyllm@nobody", "models:/nothing/1"])
def test_an_unknown_model_in_the_registry(workspace, uri):
    result = tinyllm("generate", "--model", uri, "O")
    assert_refused(result, 1, uri)


def test_a_tracking_server_that_cannot_be_reached_costs_a_warning(tokens, workspace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    result = train(tokens, Path("model"))
    assert result.exit_code == 0, result.output
    assert "tinyllm sync" in result.stderr
    assert Path("model/model.safetensors").is_file()
    assert_refused(tinyllm("sync"), 1, "127.0.0.1:9", "nothing is lost")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    synced = tinyllm("sync")
    assert synced.exit_code == 0
    assert "1 run(s) completed" in synced.output
