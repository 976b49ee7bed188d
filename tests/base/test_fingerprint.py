"""The fingerprint of params and files changes with each of them."""

import pytest

from tinyllm.base.files import fingerprint

PARAMS = {"model": {"d_model": 64}, "train": {"seed": 1}}
NAMES = ("train.bin", "val.bin", "training/loop.py", "model/loop.py")


@pytest.fixture
def files(tmp_path):
    found = {name: tmp_path / name.replace("/", "-") for name in NAMES}
    for name, path in found.items():
        path.write_text(f"contents of {name}")
    return found


def test_it_is_the_same_in_any_order(files):
    first = fingerprint(PARAMS, files)
    assert len(first) == 32
    assert set(first) <= set("0123456789abcdef")
    assert fingerprint(dict(reversed(PARAMS.items())), dict(reversed(files.items()))) == first


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_with_every_file(files, name):
    first = fingerprint(PARAMS, files)
    files[name].write_text("other contents")
    assert fingerprint(PARAMS, files) != first


@pytest.mark.parametrize(
    "params",
    [
        {"model": {"d_model": 65}, "train": {"seed": 1}},
        {"model": {"d_model": "64"}, "train": {"seed": 1}},
        {"model": {"d_model": 64}, "train": {"seed": 1, "more": None}},
        {"model": {"d_model": 64}},
    ],
)
def test_it_changes_with_every_param(files, params):
    assert fingerprint(params, files) != fingerprint(PARAMS, files)


def test_it_changes_when_files_swap_their_contents(files):
    first = fingerprint(PARAMS, files)
    files["train.bin"], files["val.bin"] = files["val.bin"], files["train.bin"]
    assert fingerprint(PARAMS, files) != first


def test_it_depends_on_where_one_file_ends_and_the_next_begins(files):
    fingerprints = set()
    for contents in (("ab", "c"), ("a", "bc"), ("abc", "")):
        for name, part in zip(("train.bin", "val.bin"), contents, strict=True):
            files[name].write_text(part)
        fingerprints.add(fingerprint(PARAMS, files))
    assert len(fingerprints) == 3


def test_it_does_not_depend_on_the_folder(files, tmp_path):
    first = fingerprint(PARAMS, files)
    (tmp_path / "moved").mkdir()
    moved = {name: path.rename(tmp_path / "moved" / path.name) for name, path in files.items()}
    assert fingerprint(PARAMS, moved) == first
