"""The kept inputs are no faults, and the search would see one."""

import subprocess
import sys

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tests.campaign.fuzz import __main__ as program
from tests.campaign.fuzz import keep
from tests.campaign.fuzz.draw import Draw, changed_bytes, changed_json
from tests.campaign.fuzz.target import ROOT, Target, all_targets
from tests.campaign.fuzz.worker import place_of
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_json


@pytest.mark.medium
def test_what_was_kept_is_refused_or_read():
    command = [sys.executable, "-m", "tests.campaign.fuzz", "--replay"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]


@pytest.mark.medium
def test_a_search_finds_nothing_in_a_short_time():
    pytest.importorskip("atheris")
    command = [sys.executable, "-m", "tests.campaign.fuzz", "reasons", "--executions", "3000"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert "3,000 executions of 1 targets, 0 faults" in result.stdout


def is_read(target, data):
    try:
        target.run(data)
    except TinyLLMError:
        return False
    return True


# names of models that do not exist
@pytest.mark.parametrize("name", sorted({*all_targets()} - {"model_names"}))
def test_a_target_does_not_refuse_everything(name):
    target = all_targets()[name]
    assert any(is_read(target, data) for data in target.inputs().values())


def test_without_atheris_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(program.importlib.util, "find_spec", lambda _: None)
    result = CliRunner().invoke(program.main, ["documents"])
    assert result.exit_code == 1
    assert "pip install atheris" in result.output


def test_an_unknown_target_is_named():
    result = CliRunner().invoke(program.main, ["documents", "nothing"])
    assert result.exit_code == 2
    assert "no target is called nothing" in result.output


def test_a_refusal_is_no_fault_and_anything_else_is():
    def read(data):
        if data == b"refused":
            raise TinyLLMError("No.")
        assert data != b"wrong"

    target = Target("reads", read, ())
    assert target.faults(b"right") is None
    assert target.faults(b"refused") is None
    fault = target.faults(b"wrong")
    assert isinstance(fault, AssertionError)
    assert place_of(fault).startswith("AssertionError in tests/campaign/fuzz/test_fuzz.py, line ")


def test_every_target_gets_enough_of_a_million():
    targets = list(all_targets().values())
    shares = program.divide(targets, 1_000_000)
    assert sum(shares.values()) >= 1_000_000
    few = {one.name for one in targets if shares[one.name] < 20_000}
    assert few <= {one.name for one in targets if one.share < 0.5}


def test_inputs_that_reach_new_lines_are_kept_the_shortest_first(tmp_path, monkeypatch):
    def read(data):
        path = tmp_path / "document.json"
        path.write_bytes(data)
        read_json(path)

    monkeypatch.setattr(keep, "CORPUS", tmp_path / "corpus")
    found = tmp_path / "found"
    found.mkdir()
    for name, data in {"a": b"[[[", "b": b"[", "c": b"\xff\xff", "d": b"\xff"}.items():
        (found / name).write_bytes(data)
    keep.keep_interesting(Target("reads", read, ()), found)
    kept = {path.read_bytes() for path in (tmp_path / "corpus/reads").iterdir()}
    assert kept == {b"[", b"\xff"}


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_every_input_can_be_taken_apart(good, data):
    draw = Draw(data)
    assert isinstance(changed_bytes(good, draw), bytes)
    assert isinstance(changed_json({"a": [1, {"b": "c"}], "d": {}}, draw), bytes)
    assert draw.rest() == b"" or draw.more() is False
