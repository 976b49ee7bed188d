"""The patch of uncommitted changes: what is in it, what is not, and that it applies elsewhere."""

import subprocess

import pytest

from tinyllm.tracking.lineage import git_patch, git_tags

CRLF = b"salt\r\nand\r\nsea\r\n"
LATIN = "the caf\u00e9 of the duke\n".encode("latin-1")


def git(*arguments):
    names = ("-c", "user.name=Duke", "-c", "user.email=duke@example.org")
    command = ["git", *names, "-c", "core.autocrlf=false", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit, as current folder."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    folder = tmp_path / "repository"
    (folder / "reports").mkdir(parents=True)
    monkeypatch.chdir(folder)
    git("init", "-q", "-b", "plays")
    (folder / "duke.txt").write_text("salt\n")
    (folder / "crlf.txt").write_bytes(CRLF)
    (folder / "latin.txt").write_bytes(LATIN)
    (folder / ".gitignore").write_text("*.log\n")
    (folder / "dvc.lock").write_text("schema: '2.0'\n")
    (folder / "reports" / "metrics.json").write_text("{}\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def elsewhere(repository):
    """Apply the patch of the repository in a fresh clone of it, and return the clone."""

    def apply():
        clone = repository.parent / "clone"
        git("clone", "-q", str(repository), str(clone))
        (repository.parent / "kept.patch").write_bytes(git_patch())
        git("-C", str(clone), "apply", "../kept.patch")
        return clone

    return apply


def uncommitted():
    return git_tags(git_patch())["git.uncommitted"]


def test_an_uncommitted_change_is_told_and_kept_as_a_patch(repository, elsewhere):
    (repository / "duke.txt").write_text("salt and é\n", encoding="utf-8")
    assert uncommitted() == "yes"
    assert (elsewhere() / "duke.txt").read_text(encoding="utf-8") == "salt and é\n"


def test_a_staged_change_and_a_binary_file_are_in_the_patch(repository, elsewhere):
    (repository / "new.bin").write_bytes(bytes(range(256)))
    git("add", "new.bin")
    assert uncommitted() == "yes"
    assert (elsewhere() / "new.bin").read_bytes() == bytes(range(256))


def test_ends_of_lines_and_encodings_survive_in_a_fresh_clone(repository, elsewhere):
    (repository / "crlf.txt").write_bytes(CRLF.replace(b"and", b"or the"))
    (repository / "latin.txt").write_bytes(LATIN + b"\xe9t\xe9")
    (repository / "new.txt").write_bytes(b"one\r\ntwo \xfc\n\r\n")
    clone = elsewhere()
    for name in ("crlf.txt", "latin.txt", "new.txt"):
        assert (clone / name).read_bytes() == (repository / name).read_bytes()


def test_a_new_untracked_file_is_in_the_patch(repository, elsewhere):
    (repository / "sub").mkdir()
    (repository / "sub" / "stage two.py").write_text("print(2)\n")
    assert uncommitted() == "yes"
    assert (elsewhere() / "sub" / "stage two.py").read_text() == "print(2)\n"


def test_a_deleted_file_is_gone_where_the_patch_is_applied(repository, elsewhere):
    (repository / "duke.txt").unlink()
    assert uncommitted() == "yes"
    clone = elsewhere()
    assert not (clone / "duke.txt").exists()
    assert (clone / "crlf.txt").exists()


def test_an_ignored_file_is_no_change(repository):
    (repository / "noise.log").write_text("noise")
    assert (git_patch(), uncommitted()) == (b"", "no")


def test_what_the_stages_write_is_no_change(repository):
    (repository / "reports" / "metrics.json").write_text('{"loss": 1}\n')
    (repository / "reports" / "new.csv").write_text("step\n")
    (repository / "dvc.lock").write_text("schema: '3.0'\n")
    (repository / "data").mkdir()
    (repository / "data" / ".gitignore").write_text("/prepared\n")
    assert (git_patch(), uncommitted()) == (b"", "no")


def test_what_people_write_is_a_change_beside_what_the_stages_write(repository):
    (repository / "dvc.lock").write_text("schema: '3.0'\n")
    (repository / ".gitignore").write_text("*.log\n*.tmp\n")
    assert uncommitted() == "yes"
    assert b"+*.tmp" in git_patch()
    assert b"dvc.lock" not in git_patch()


def test_making_the_patch_leaves_what_is_staged_alone(repository):
    (repository / "duke.txt").write_text("staged\n")
    git("add", "duke.txt")
    (repository / "duke.txt").write_text("later\n")
    (repository / "new.txt").write_text("new\n")
    before = git("status", "--porcelain"), git("diff", "--cached")
    assert b"+later" in git_patch()
    assert (git("status", "--porcelain"), git("diff", "--cached")) == before
