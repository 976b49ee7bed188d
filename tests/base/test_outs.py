"""A command may replace what it wrote itself, and nothing else."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.out_folders import FOLDER, link, make, names, put, refusal
from tinyllm.base.outs import OutFile, OutFolder, check_places
from tinyllm.base.replacing import remove_out

SIGNED = OutFolder("tinyllm test", ("meta.json",), "meta.json", frozenset({"one", "two"}))


@pytest.fixture
def folder(tmp_path):
    """A folder written earlier."""
    make(tmp_path / "folder", "old")
    return tmp_path / "folder"


def drop_sign(folder):
    (folder / "mark").write_text("somebody else's file of this name")


FOREIGN = {
    "a file": (put("thesis.txt"), "'thesis.txt'"),
    "a hidden file": (put(".env"), "'.env'"),
    "a file in a folder of the command's": (put("deeper/thesis.txt"), "'deeper/thesis.txt'"),
    "a list of what git ignores further down": (put("sub/.gitignore"), "'sub/.gitignore'"),
    "a repository": (put(".git/config"), "'.git/config'"),
    "an empty folder": (lambda folder: (folder / "empty").mkdir(), "'empty/'"),
    "a link to a file": (link("link", "/etc/passwd"), "'link'"),
    "a link to a folder": (link("link", "/etc"), "'link'"),
    "a link that leads nowhere": (link("link", "nowhere"), "'link'"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe"), "'pipe'"),
    "a name of the command's further down": (put("deep/deeper/file"), "'deep/deeper/file'"),
    "a pipe of the command's name": (lambda folder: os.mkfifo(folder / "file"), "'file'"),
    "a folder of the command's name": (put("file/mine"), "'file/mine'"),
    "names of the command's, by somebody else": (drop_sign, "'mark' and 1 more"),
    "names of the command's, without the mark": (lambda f: (f / "mark").unlink(), "'deep/file'"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_folder_with_files_of_others_stays(tmp_path, folder, what):
    add, named = FOREIGN[what]
    add(folder)
    before = set(folder.rglob("*"))
    message = refusal(make, folder)
    assert message.startswith(f"{folder} holds {named}, which 'tinyllm test' did not write; ")
    assert f"--out {message}" == refusal(check_places, {"--out": (folder, FOLDER)})
    assert message == refusal(remove_out, folder, FOLDER)
    assert set(folder.rglob("*")) == before
    assert names(tmp_path) == ["folder"]


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from tinyllm.base.outs import OutFile, OutFolder, check_places
kind = OutFolder("tinyllm test", ("mark", "file", "deep/*"), mark="mark", sign=(b"by test",))
if os.geteuid() == 0:
    os.setuid(65534)
try:
    check_places({"--out": (Path(sys.argv[1]), kind)})
except Exception as error:
    print(error)
"""


@pytest.mark.parametrize("protected", ["", "out/deep"])
def test_a_folder_that_cannot_be_removed_completely_stays_complete(protected):
    """Checked as a user other than root, who may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        above = Path(name)
        above.chmod(0o777)
        make(above / "out")
        for folder in (above / "out", above / "out/deep"):
            folder.chmod(0o777)
        (above / protected).chmod(0o555)
        command = [sys.executable, "-c", UNPRIVILEGED, str(above / "out")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (above / protected).chmod(0o777)
    assert printed.strip().endswith(f"since {above / protected} is write-protected.")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, whose folders take no files")
def test_a_folder_that_takes_no_files_is_refused_before_any_work():
    """Whoever may write everywhere cannot write there, which only trying tells."""
    place = Path("/proc/self/task/out.yaml")
    line = refusal(check_places, {"--out": (place, OutFile("tinyllm test", b"by test"))})
    assert "--out /proc/self/task/out.yaml cannot be written, since /proc/" in line


def test_a_mount_point_is_refused_before_any_work():
    assert "mount point" in refusal(check_places, {"--out": (Path("/proc"), FOLDER)})


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The current folder, with a folder `in` to read."""
    (tmp_path / "project/in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.mark.parametrize("out", [".", "..", "./", "../project", "/", "in/..", ""])
def test_the_current_folder_and_those_above_it_are_refused(places, out):
    message = refusal(check_places, {"--out": (Path(out), FOLDER)}, {"--in": Path("in")})
    assert "is or holds the current folder" in message


@pytest.mark.parametrize("out", ["in", "in/deeper/out", "link", "link/out", "../project/in"])
def test_outs_and_inputs_that_overlap_are_refused(places, out):
    (places / "link").symlink_to("in")
    message = refusal(check_places, {"--out": (Path(out), FOLDER)}, {"--in": Path("in")})
    assert message == (
        f"--out {Path(out)} and --in in are the same place or lie in each other; name two "
        f"separate places."
    )


@pytest.mark.parametrize(("one", "other"), [("m", "m"), ("m", "m/n"), ("m/n", "m"), ("m", "./m")])
def test_two_outs_that_overlap_are_refused(places, one, other):
    outs = {"--out": (Path(one), FOLDER), "--reports": (Path(other), FOLDER)}
    assert "lie in each other" in refusal(check_places, outs)


def test_separate_places_are_accepted(places):
    outs = {"--out": (Path("new"), FOLDER), "--reports": (Path("in2"), FOLDER)}
    check_places(outs, {"--in": Path("in"), "--other": Path("not/there")})
    assert names(places) == ["in"]


def test_a_current_folder_that_is_gone_is_reported(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    message = refusal(check_places, {"--out": (Path("out"), FOLDER)})
    assert message == "--out out cannot be used: No such file or directory."
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "replaced"),
    [
        ('{"one": 1, "two": 2, "three": 3}', True),
        ('{"one": 1}', False),
        ('["one", "two"]', False),
        ("{", False),
        ("[" * 100_000, False),
    ],
)
def test_a_json_mark_is_recognized_by_its_keys(tmp_path, content, replaced):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/meta.json").write_text(content)
    assert (SIGNED.objection(tmp_path / "out") is None) is replaced


@pytest.mark.parametrize("out", [".git/x", ".dvc/cache", ".tinyllm", "mlruns/0"])
def test_folders_of_other_programs_are_refused(places, out):
    assert "which holds other things" in refusal(check_places, {"--out": (Path(out), FOLDER)})


@pytest.mark.parametrize("out", ["loop", "loop/out", "x" * 300, "y/" + "x" * 300])
def test_impossible_places_are_reported(places, out):
    (places / "loop").symlink_to("pool")
    (places / "pool").symlink_to("loop")
    refusal(check_places, {"--out": (Path(out), FOLDER)})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_mount_inside_a_folder_is_not_emptied(tmp_path, folder):
    put("elsewhere/file")(tmp_path)
    mounted = folder / "deep"
    command = ["mount", "--bind", str(tmp_path / "elsewhere"), str(mounted)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        assert "is a mount point" in refusal(make, folder)
        assert (tmp_path / "elsewhere/file").read_text() == "mine"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_a_folder_that_cannot_be_read_completely_stays():
    """Checked as a user other than root, who may read everything."""
    with tempfile.TemporaryDirectory() as name:
        above = Path(name)
        above.chmod(0o777)
        put("out/secret/diary")(above)
        (above / "out").chmod(0o777)
        (above / "out/secret").chmod(0)
        command = [sys.executable, "-c", UNPRIVILEGED, str(above / "out")]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith("out/secret cannot be read.")
