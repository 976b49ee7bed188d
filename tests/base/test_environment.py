"""What a process may inherit, and what those that it starts inherit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tinyllm.base.environment import child_environment

FENCED = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from tinyllm.base.environment import fence_process
fence_process()
import getpass, os, tempfile, warnings
"""


def fenced(program: str, environment: dict[str, str], prefix: str = "") -> str:
    """What a program prints after the fence, in a process with exactly these variables."""
    line = f'{prefix}exec "$0" -c "$1"'
    result = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, FENCED + program],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_variables_that_meddle_are_gone():
    names = ("MPLBACKEND", "GIT_DIR", "GIT_INDEX_FILE", "PYTHONSAFEPATH", "BASH_ENV")
    kept = {"GIT_SSH_COMMAND": "x", "GIT_AUTHOR_NAME": "x", "PYTHONUNBUFFERED": "1"}
    shown = fenced("print(sorted(os.environ))", dict.fromkeys(names, "x") | kept)
    assert not [name for name in names if f"'{name}'" in shown]
    assert all(f"'{name}'" in shown for name in kept)


def test_a_warning_is_no_error_any_more():
    program = "warnings.warn('x'); print('on')"
    assert fenced(program, {"PYTHONWARNINGS": "error"}) == "on"


@pytest.mark.parametrize(
    ("mask", "kept"), [("777", "077"), ("077", "077"), ("022", "022"), ("700", "000")]
)
def test_the_owner_keeps_their_rights(mask, kept):
    shown = fenced("print(f'{os.umask(0):03o}')", {}, f"umask {mask}; ")
    assert shown == kept


def test_names_of_files_are_utf8_in_any_locale():
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert fenced("print(sys.getfilesystemencoding(), sys.stdout.encoding)", environment) == (
        "utf-8 utf-8"
    )


@pytest.mark.parametrize("home", [None, "", "/nonexistent", "relative", "/dev/null"])
def test_there_is_a_home_that_can_be_used(home):
    environment = {} if home is None else {"HOME": home}
    program = "print(os.path.isdir(os.environ['HOME']) and bool(getpass.getuser()))"
    assert fenced(program, environment) == "True"


def test_a_temporary_folder_that_is_none_is_not_used(tmp_path):
    assert Path(fenced("print(tempfile.gettempdir())", {"TMPDIR": "/nonexistent"})).is_dir()
    assert fenced("print(tempfile.gettempdir())", {"TMPDIR": str(tmp_path)}) == str(tmp_path)


def test_installed_modules_come_before_those_of_pythonpath(tmp_path):
    (tmp_path / "yaml.py").write_text("raise SystemExit(7)")
    (tmp_path / "only_here.py").write_text("value = 5")
    program = "import only_here, yaml; print(only_here.value)"
    assert fenced(program, {"PYTHONPATH": str(tmp_path)}) == "5"


def test_a_child_finds_the_programs_of_this_python_and_speaks_english(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.setenv("LANGUAGE", "de")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    child = child_environment(ADDED="1", HOME=None)
    assert child["PATH"] == f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"
    assert child["LC_ALL"] == "C.UTF-8"
    assert child["ADDED"] == "1"
    assert not {"GIT_DIR", "LANGUAGE", "PYTHONPATH", "HOME"} & child.keys()
