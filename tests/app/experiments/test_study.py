"""The file of all studies is made once, whoever comes first, and what is wrong with it is told."""

import concurrent.futures
import threading
from types import SimpleNamespace

import pytest

from tinyllm.app.experiments.study import open_study
from tinyllm.base.errors import TinyLLMError

pytestmark = pytest.mark.medium

MANY = 4


def setting(number):
    params = {"train": {"max_steps": 10}}
    return SimpleNamespace(name=f"sweep-{number}", identity="same", params=params)


def test_sweeps_that_begin_at_the_same_time_share_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLLM_ROOT", str(tmp_path))
    barrier = threading.Barrier(MANY)

    def begin(number):
        barrier.wait(60)
        return open_study(setting(number)).study_name

    with concurrent.futures.ThreadPoolExecutor(MANY) as pool:
        names = list(pool.map(begin, range(MANY)))
    assert names == [f"sweep-{number}" for number in range(MANY)]


def test_a_damaged_file_of_studies_is_told_of_and_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYLLM_ROOT", str(tmp_path))
    studies = tmp_path / ".tinyllm" / "sweeps" / "studies.db"
    studies.parent.mkdir(parents=True)
    studies.write_bytes(b"no database" * 1000)
    with pytest.raises(TinyLLMError, match=r"Cannot use .*studies\.db.* not a database; move it"):
        open_study(setting(1))
    assert studies.read_bytes() == b"no database" * 1000
