"""The patch of uncommitted changes: what is in it, what is not, and that it applies elsewhere."""

import os
import subprocess
import time

import pytest

from tinyllm.app.tracking.lineage import git_tags
from tinyllm.app.tracking.patch import NewFiles, find_new_files, git_patch

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


def test_a_change_of_the_same_size_in_the_second_of_the_commit_is_kept(repository):
    """As an experiment does, that is checked out and then given another value."""
    changed, then = repository / "duke.txt", time.time_ns() - 10**10
    # else git would see the change by the time of the change of the file's metadata
    git("config", "core.trustctime", "false")
    os.utime(changed, ns=(then, then))
    git("update-index", "--refresh")
    os.utime(repository / ".git" / "index", ns=(then, then))
    changed.write_text("SALT\n")
    os.utime(changed, ns=(then, then))
    assert b"+SALT" in git_patch()


def test_a_staged_change_and_a_binary_file_are_in_the_patch(repository, elsewhere):
    (repository / "new.bin").write_bytes(bytes(range(256)))
    git("add", "new.bin")
    assert uncommitted() == "yes"
    assert (elsewhere() / "new.bin").read_bytes() == bytes(range(256))


def test_ends_of_lines_and_encodings_survive_in_a_fresh_clone(repository, elsewhere):
    (repository / "crlf.txt").write_bytes(CRLF.replace(b"and", b"or the"))
    (repository / "latin.txt").write_bytes(LATIN + b"\xe9t\xe9")
    (repository / "new.py").write_bytes(b"one\r\ntwo \xfc\n\r\n")
    clone = elsewhere()
    for name in ("crlf.txt", "latin.txt", "new.py"):
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
    (repository / "new.py").write_text("new\n")
    before = git("status", "--porcelain"), git("diff", "--cached")
    assert b"+later" in git_patch()
    assert (git("status", "--porcelain"), git("diff", "--cached")) == before


SECRET = "hunter2-do-not-tell"  # pragma: allowlist secret
LEFT_OUT = {
    ".env": SECRET,
    ".env.py": SECRET,
    "config/.env.production": SECRET,
    "credentials.json": SECRET,
    "deploy/secrets.py": SECRET,
    "env.sh": SECRET,
    "keys/id_rsa": SECRET,
    "my_passwords.sh": SECRET,
    "mysecrets.py": SECRET,
    "notes.txt": SECRET,
    "private-key.toml": SECRET,
    "server.pem": SECRET,
    "settings.yaml": SECRET,
    "study.ipynb": SECRET,
    "tinyllm/APIKey.py": SECRET,
    "weights.safetensors": SECRET,
}


def test_new_files_that_are_not_source_stay_here_and_are_named(repository):
    (repository / "duke.txt").write_text("salt and sea\n")
    for name, text in {**LEFT_OUT, "tokenizer.py": "x = 1\n", "secretary.py": "y = 2\n"}.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(text)
    patch = git_patch()
    assert SECRET.encode() not in patch
    assert b"+salt and sea" in patch
    assert find_new_files() == NewFiles(["secretary.py", "tokenizer.py"], sorted(LEFT_OUT))
    assert b"+x = 1" in patch
    assert b"+y = 2" in patch


@pytest.mark.parametrize(
    "text",
    [
        "store = 'http://duke:hunter2@host:5000'",  # pragma: allowlist secret
        "-----BEGIN OPENSSH PRIVATE KEY-----",  # pragma: allowlist secret
        "key = 'AKIA" + "ABCDEFGH" * 2 + "'",
        "token = 'ghp_" + "a1B2" * 9 + "'",
        "TOKEN = 'hf_" + "abcDEF" * 6 + "'",
    ],
)
def test_a_new_source_file_with_a_secret_in_it_stays_here(repository, text):
    (repository / "run.py").write_text(f"import os\n{text}\n")
    (repository / "fine.py").write_text("url = 'http://host:5000/a@b'  # sk-learn, AKIA\n")
    assert find_new_files() == NewFiles(["fine.py"], ["run.py"])
    assert text.encode() not in git_patch()


def test_a_large_new_file_stays_here_and_is_not_read(repository):
    with (repository / "big.py").open("wb") as file:
        file.truncate(300_000_000)
    with (repository / "big.bin").open("wb") as file:
        file.truncate(300_000_000)
    assert git_patch() == b""
    assert find_new_files() == NewFiles([], ["big.bin", "big.py"])


def test_many_new_files_of_an_environment_are_not_taken_without_end(repository):
    (repository / "sub").mkdir()
    for number in range(30):
        (repository / "sub" / f"{number:02}.py").write_text("#" * 900_000)
    found = find_new_files()
    assert sum((repository / name).stat().st_size for name in found.taken) <= 10_000_000
    assert len(found.taken) + len(found.left_out) == 30
    assert len(git_patch()) < 11_000_000


def test_what_was_added_to_git_is_in_the_patch_whatever_its_kind(repository, elsewhere):
    (repository / "mine.txt").write_text("A text that no commit holds.\n")
    (repository / "later.txt").write_text("")
    git("add", "mine.txt")
    git("add", "--intent-to-add", "later.txt")
    (repository / "later.txt").write_text("changed since\n")
    clone = elsewhere()
    assert (clone / "mine.txt").read_text() == "A text that no commit holds.\n"
    assert (clone / "later.txt").read_text() == "changed since\n"


def test_what_git_forgot_stays_here(repository):
    git("rm", "--quiet", "--cached", "duke.txt")
    (repository / "duke.txt").write_text(SECRET)
    assert SECRET.encode() not in git_patch()
    assert find_new_files().left_out == ["duke.txt"]


def test_a_repository_within_is_named_and_not_taken(repository):
    (repository / "other").mkdir()
    git("init", "-q", "other")
    (repository / "other" / "code.py").write_text("z = 3\n")
    assert git_patch() == b""
    assert find_new_files().left_out == ["other/"]


def test_a_name_is_a_name_and_no_pattern(repository, elsewhere):
    (repository / "[a]*.py").write_text("star\n")
    (repository / ":(glob).py").write_text("magic\n")
    (repository / "a.env").write_text(SECRET)
    clone = elsewhere()
    assert (clone / "[a]*.py").read_text() == "star\n"
    assert (clone / ":(glob).py").read_text() == "magic\n"
    assert not (clone / "a.env").exists()
