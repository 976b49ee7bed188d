"""Every option that writes, at every place that is somebody's: nothing is lost, nothing begun."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from tinyllm.app.cli import main

# command and option -> what else the command needs; folders are those of `world`
FOLDERS = {
    "prepare --out": ["--source=corpus"],
    "tokenize --out": ["--prepared=prepared"],
    "train --out": ["--tokens=tokens", "--reports=new-reports"],
    "train --reports": ["--tokens=tokens", "--out=new-model"],
    "evaluate --out": ["--checkpoint=checkpoint", "--tokens=tokens"],
    "export --out": ["--checkpoint=checkpoint", "--tokens=tokens", "--evaluation=evaluation"],
}
FILES = {
    "playground --out": ["--model=checkpoint", "--print-path"],
    "report --out": ["--no-verify"],
}
# an input and another command's out, by the command
INPUT = {
    "prepare": "corpus",
    "tokenize": "prepared",
    "train": "tokens",
    "evaluate": "checkpoint",
    "export": "evaluation",
}
NEIGHBOR = {
    "prepare": "tokens",
    "tokenize": "checkpoint",
    "train": "export",
    "evaluate": "reports",
    "export": "prepared",
}
PLACES = {
    "the current folder": ".",
    "the folder above": "..",
    "an absolute path": "{world}/documents",
    "home": "{world}/home",
    "a git repository": "repository",
    "a folder with one foreign file": "notes",
    "a symbolic link": "link",
}
FILE_PLACES = {
    **PLACES,
    "a file": "notes/thesis.txt",
    "an absolute file": "{world}/documents/letter.txt",
    "a link to a file": "file-link",
    "an input's file": "checkpoint/model.safetensors",
    "a neighbor's file": "export/README.md",
}


@pytest.fixture
def world(tmp_path, monkeypatch, prepared, tokens, checkpoint_folder):
    """A user's folders, with a project as current folder."""
    project = tmp_path / "project"
    for name, made in (("prepared", prepared), ("tokens", tokens)):
        shutil.copytree(made, project / name)
    shutil.copytree(checkpoint_folder, project / "checkpoint")
    texts = {
        "project/corpus/play.txt": "To be.\n" * 300,
        "project/evaluation/metrics.json": '{"split": "test", "bits_per_character": 2.0}',
        "project/reports/metrics.json": '{"val_loss": 2.0}',
        "project/export/README.md": "# A character-level language model\n",
        "project/notes/thesis.txt": "years of work",
        "project/repository/.git/HEAD": "ref: refs/heads/main",
        "project/repository/code.py": "print()",
        "documents/letter.txt": "Dear",
        "home/.ssh/id_rsa": "key",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (project / "link").symlink_to("notes")
    (project / "file-link").symlink_to("notes/thesis.txt")
    monkeypatch.chdir(project)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DVC_ROOT", str(project))
    return tmp_path


def snapshot(world):
    """Everything in the world but the program's own log and what matplotlib knows of fonts."""
    return {
        str(path): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in world.rglob("*")
        if not {".tinyllm", ".cache", ".config"} & set(path.parts)
    }


def refused(world, call, needs, place):
    """The sentence with which a call is refused that leaves the world as it was."""
    command, option = call.split()
    before = snapshot(world)
    given = [command, *needs, option, place.format(world=world)]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert snapshot(world) == before
    return result.output.strip().splitlines()[-1]


CALLS = [(call, what, place) for call in FOLDERS for what, place in PLACES.items()]
CALLS += [(call, "an input", INPUT[call.split()[0]]) for call in FOLDERS]
CALLS += [(call, "a neighbor's out", NEIGHBOR[call.split()[0]]) for call in FOLDERS]


@pytest.mark.parametrize(
    ("call", "place"), [pytest.param(c, place, id=f"{c} {what}") for c, what, place in CALLS]
)
def test_a_folder_that_is_somebodys_stays(world, call, place):
    message = refused(world, call, FOLDERS[call], place)
    assert message.startswith("Error: --")
    assert message.endswith(".")


@pytest.mark.parametrize("call", FILES)
@pytest.mark.parametrize("what", FILE_PLACES)
def test_a_file_that_is_somebodys_stays(world, call, what):
    refused(world, call, FILES[call], FILE_PLACES[what])


@pytest.mark.parametrize(("out", "reports"), [("m", "m"), ("m", "m/r"), ("r/m", "r")])
def test_outs_and_reports_that_lie_in_each_other_are_refused(world, out, reports):
    message = refused(world, "train --out", ["--tokens=tokens", f"--reports={reports}"], out)
    assert "lie in each other" in message


def test_a_page_is_not_written_into_the_models_folder(world):
    message = refused(world, "playground --out", FILES["playground --out"], "checkpoint/page.html")
    assert "lie in each other" in message


@pytest.mark.parametrize(
    ("call", "files"),
    [
        ("tokenize --out", {"meta.json": '{"vocab_size": 50257}', "train.bin": "numbers"}),
        ("evaluate --out", {"metrics.json": '{"bits_per_character": 1}', "samples.txt": "mine"}),
        ("train --out", {"config.json": '{"model_type": "llama"}', "model.safetensors": "mine"}),
        ("export --out", {"README.md": "# My model", "huggingface/config.json": "{}"}),
        (
            "export --out",
            {"README.md": "# A character-level language model\n", "gguf/my.gguf": "x"},
        ),
    ],
)
def test_a_folder_that_looks_like_the_commands_own_stays(world, call, files):
    for name, text in files.items():
        (Path("mine") / name).parent.mkdir(parents=True, exist_ok=True)
        (Path("mine") / name).write_text(text, encoding="utf-8")
    assert "did not write" in refused(world, call, FOLDERS[call], "mine")


@pytest.mark.parametrize("name", ["app/reporting/markdown.py", "formats/playground.py"])
@pytest.mark.parametrize("call", FILES)
def test_our_own_sources_stay(world, call, name):
    shutil.copyfile(ROOT / "tinyllm" / name, "source.py")
    assert "was not written" in refused(world, call, FILES[call], "source.py")


def test_a_corpus_that_links_into_the_folder_to_write_stays(world):
    assert CliRunner().invoke(main, ["prepare", "--source=corpus", "--out=own"]).exit_code == 0
    Path("linked").mkdir()
    Path("linked/a.txt").symlink_to("../own/train-00000.txt")
    assert "is a link into" in refused(world, "prepare --out", ["--source=linked"], "own")


@pytest.mark.parametrize("call", ["prepare --out", "tokenize --out"])
def test_what_the_command_wrote_itself_is_replaced(world, call):
    command, option = call.split()
    for _ in range(2):
        result = CliRunner().invoke(main, [command, *FOLDERS[call], option, "own"])
        assert result.exit_code == 0, result.output
    assert Path("own").is_dir()


def test_a_page_that_the_command_wrote_itself_is_replaced(world):
    given = ["playground", *FILES["playground --out"], "--out", "page.html"]
    for _ in range(2):
        result = CliRunner().invoke(main, given)
        assert result.exit_code == 0, result.output
