"""The name of a group of experiments changes with all that their results depend on."""

import shutil

import pytest

from tests.conftest import ROOT
from tests.project import run_in
from tinyllm.app.experiments.setting import find_setting
from tinyllm.base.errors import ConfigError, TinyLLMError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    shutil.copyfile(ROOT / "dvc.yaml", tmp_path / "dvc.yaml")
    (tmp_path / "raw.txt").write_text("To be, or not to be.\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(
        "prepare: {source: raw.txt}\ntrain: {max_steps: 60}\n", encoding="utf-8"
    )
    run_in(tmp_path, "git", "init", "--quiet")
    run_in(tmp_path, "git", "commit", "--quiet", "--allow-empty", "--message", "start")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def identity(*fixed: str, task="sweep") -> str:
    return find_setting("sweep", None, fixed, task).identity


def test_the_same_has_the_same_name(repository):
    one, other = (find_setting("sweep", None, [], {"seed": 1}) for _ in range(2))
    assert one == other
    assert one.name == f"sweep-{one.identity[:6]}"


def test_parameters_text_and_task_change_the_identity(repository):
    found = {identity(), identity("train.max_steps=61"), identity(task="repeat")}
    (repository / "raw.txt").write_text("That is the question.\n", encoding="utf-8")
    found.add(identity())
    assert len(found) == 4


def test_a_corpus_elsewhere_counts_by_what_its_files_are(repository):
    fsspec = pytest.importorskip("fsspec")
    system = fsspec.filesystem("memory")
    found = set()
    for text in (b"one", b"one more"):
        system.pipe("/setting/a.txt", text)
        found.add(identity("prepare.source=memory://setting"))
    assert len(found) == 2


def test_what_changes_no_result_leaves_it(repository):
    assert identity() == identity("display.progress=false") == identity("train.max_steps=60")


def test_overrides_are_parsed_as_yaml_and_passed_on(repository):
    setting = find_setting("sweep", "mine", ["train.learning_rate=1e-3"], "sweep")
    assert setting.name == "mine"
    assert setting.params["train"]["learning_rate"] == 0.001
    assert setting.params["train"]["max_steps"] == 60
    assert setting.overrides == ["++train.learning_rate=0.001"]


@pytest.mark.parametrize(
    ("fixed", "said"),
    [
        ("train.max_steps", "is no override"),
        ("nothing.max_steps=3", "is no override"),
        ("train.max_step=3", "did you mean max_steps"),
        ("train.max_steps=[", "is no value"),
        ("train.max_steps=0", "train.max_steps"),
    ],
)
def test_a_wrong_override_is_refused(repository, fixed, said):
    with pytest.raises(ConfigError, match=said):
        find_setting("sweep", None, [fixed], "sweep")


def test_a_name_that_git_would_not_take_is_refused(repository):
    with pytest.raises(ConfigError, match="cannot name an experiment"):
        find_setting("sweep", "a b", [], "sweep")


def test_elsewhere_than_in_a_repository_it_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TinyLLMError, match=r"no dvc\.yaml here"):
        find_setting("sweep", None, [], "sweep")


@pytest.mark.parametrize(
    ("given", "value"),
    [("1e3, [x] 'y'", "1e3, [x] 'y'"), ("'*.md'", "*.md"), ('"12"', "12"), ("null", "null")],
)
def test_a_text_is_taken_as_it_stands_or_without_quotes_around_it(repository, given, value):
    setting = find_setting("sweep", "mine", [f"tracking.experiment={given}"], "sweep")
    assert setting.params["tracking"]["experiment"] == value


@pytest.mark.parametrize("value", ["[" * 9999, "2024-13-45", "{", "&a *a", "!!int"])
def test_what_yaml_cannot_read_is_one_sentence(repository, value):
    with pytest.raises(ConfigError):
        find_setting("sweep", "mine", [f"train.max_steps={value}"], "sweep")
