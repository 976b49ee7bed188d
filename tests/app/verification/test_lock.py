"""A dvc.lock is read whole or refused in a sentence that says how to get it back."""

import pytest

from tinyllm.app.verification.lock import read_lock
from tinyllm.base.errors import TinyLLMError


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff\xfe",
        b"[1, 2]",
        b"stages: []",
        b"stages: {}",
        b"schema: '2.0'",
        b"stages: {train: 5}",
        b"stages: {train: {outs: [{path: models}]}}",
        b"stages: {train: {outs: [{path: models, md5: [1]}]}}",
        b"<<<<<<< HEAD\nstages: {}\n=======\n",
        b"[" * 5000,
        "stages: {train: {params: {params.yaml: нет}}}".encode(),
    ],
)
def test_a_damaged_lock_is_refused(tmp_path, data):
    (tmp_path / "dvc.lock").write_bytes(data)
    with pytest.raises(TinyLLMError, match=r"dvc\.lock is damaged .*git checkout -- dvc\.lock"):
        read_lock(tmp_path)


def test_what_dvc_writes_is_read(tmp_path):
    text = "stages: {train: {cmd: x, outs: [{path: m, hash: md5, md5: a.dir, nfiles: 2}]}}"
    (tmp_path / "dvc.lock").write_text(text, encoding="utf-8")
    (out,) = read_lock(tmp_path)["train"].outs
    assert (out.path, out.md5) == ("m", "a.dir")
