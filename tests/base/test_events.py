"""The watcher is found by name, and nothing depends on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinyllm
from tinyllm.base.events import FileWritten, RunStarted, find_watcher, ignore, unwatched

STARTED = RunStarted("train", "f" * 32, {})
WITHOUT_A_LISTENER = """
import sys
from pathlib import Path
from tinyllm.base.command import Command
from tinyllm.base.events import FileWritten, RunStarted, find_watcher, unwatched
from tinyllm.corpus.command import prepare
from tinyllm.tokens.command import tokenize
from tinyllm.training.command import train

assert find_watcher() is None
with unwatched(RunStarted("train", "f", {})) as tell:
    tell(FileWritten(Path("x")))
prepare.main(["--source=raw.txt", "--out=prepared"], standalone_mode=False)
tokenize.main(["--prepared=prepared", "--out=tokens"], standalone_mode=False)
print([option.name for option in train.params if option.name in ("tracking", "progress", "seed")])
assert "tinyllm.app" not in sys.modules and "torch" not in sys.modules
prepare.main(["--source=missing.txt", "--out=other"])
"""


@pytest.fixture
def package(tmp_path):
    """A copy of the package without the watcher."""
    copy = tmp_path / "copy"
    source = Path(tinyllm.__file__).parent
    shutil.copytree(source, copy / "tinyllm", ignore=shutil.ignore_patterns("__pycache__", "app"))
    return copy


def run_in(package, code):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=package,
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_watcher_is_found_by_name():
    watcher = find_watcher()
    assert watcher is sys.modules["tinyllm.app.watch"]
    assert find_watcher() is watcher


def test_without_a_watcher_events_are_ignored():
    with unwatched(STARTED) as tell:
        assert tell is ignore
        assert tell(FileWritten(Path("x"))) is None


def test_without_a_watcher_errors_propagate():
    with pytest.raises(ZeroDivisionError), unwatched(STARTED):
        raise ZeroDivisionError


def test_without_a_watcher_stages_run_and_fail_in_one_sentence(package):
    (package / "raw.txt").write_text("To sea, to sea.\n" * 50, encoding="utf-8")
    result = run_in(package, WITHOUT_A_LISTENER)
    assert result.stderr.startswith("Error: There is no corpus at missing.txt, "), result.stderr
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "['seed']"
    assert (package / "tokens/train-00000.bin").is_file()


def test_a_watcher_that_cannot_be_imported_is_an_error(package):
    """It exists, but lacks a dependency: the run would go unrecorded."""
    watch = package / "tinyllm/app/watch"
    watch.mkdir(parents=True)
    (watch.parent / "__init__.py").write_text("")
    (watch / "__init__.py").write_text("import a_package_that_is_not_installed\n")
    result = run_in(package, "from tinyllm.base.events import find_watcher; find_watcher()")
    assert result.returncode == 1
    assert "No module named 'a_package_that_is_not_installed'" in result.stderr
