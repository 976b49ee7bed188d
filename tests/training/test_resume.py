"""Working checkpoints: two are kept, a damaged one is skipped."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tinyllm.base.errors import TinyLLMError
from tinyllm.training.resume import TrainingState, WorkingCheckpoints, stop_on_signal


def state_at(step):
    tensors = {
        "model.weight": torch.full((3, 4), step / 3),
        "random.cpu": torch.arange(20, dtype=torch.uint8) + step % 200,
        "optimizer.step": torch.tensor(float(step)),
    }
    facts = {"progress": {"step": step, "best": float("inf"), "loss": 0.1 + 0.2}, "place": [1, 2]}
    return TrainingState(step, tensors, facts)


@pytest.fixture
def checkpoints(tmp_path):
    return WorkingCheckpoints(tmp_path / "training" / "abc")


@pytest.fixture
def two(checkpoints):
    for step in (4, 9):
        checkpoints.save(state_at(step))
    return checkpoints


def names(checkpoints):
    return sorted(path.name for path in checkpoints.folder.iterdir())


def files_of(step, prefix=""):
    return [f"{prefix}step-{step:08d}.json", f"{prefix}step-{step:08d}.safetensors"]


def assert_same(state, expected):
    assert state.step == expected.step
    assert state.facts == expected.facts
    assert set(state.tensors) == set(expected.tensors)
    for name, tensor in expected.tensors.items():
        assert state.tensors[name].dtype == tensor.dtype
        assert torch.equal(state.tensors[name], tensor)


def test_round_trip_changes_no_bit(checkpoints):
    checkpoints.save(state_at(7))
    assert_same(checkpoints.load_latest(), state_at(7))


def test_nothing_saved_gives_none(checkpoints):
    assert checkpoints.load_latest() is None


def test_newest_two_are_kept(checkpoints):
    for step in (1, 2, 9, 10, 100):
        checkpoints.save(state_at(step))
    assert names(checkpoints) == files_of(10) + files_of(100)
    assert_same(checkpoints.load_latest(), state_at(100))


def test_same_step_can_be_saved_again(two):
    two.save(state_at(9))
    assert names(two) == files_of(4) + files_of(9)
    assert_same(two.load_latest(), state_at(9))


def shorten(json_file, weights):
    weights.write_bytes(weights.read_bytes()[:-1])


def empty(json_file, weights):
    weights.write_bytes(b"")


def flip_a_bit(json_file, weights):
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)


def lose_the_weights(json_file, weights):
    weights.unlink()


def tear_the_json(json_file, weights):
    json_file.write_bytes(json_file.read_bytes()[:-20])


def garble_the_json(json_file, weights):
    json_file.write_bytes(b"\xff\xfe\x00")


def fitting_checksum_of_no_tensors(json_file, weights):
    import hashlib

    weights.write_bytes(b"these are no tensors")
    facts = {"step": 9, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "facts": {}}
    json_file.write_text(json.dumps(facts), encoding="utf-8")


DAMAGES = [
    shorten,
    empty,
    flip_a_bit,
    lose_the_weights,
    tear_the_json,
    garble_the_json,
    fitting_checksum_of_no_tensors,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_one_is_skipped(two, damage):
    json_file, weights = (two.folder / name for name in files_of(9))
    damage(json_file, weights)
    assert_same(two.load_latest(), state_at(4))
    left = set(names(two))
    assert not left & set(files_of(9))
    assert files_of(9, "damaged-")[0] in left
    assert_same(two.load_latest(), state_at(4))


@pytest.mark.parametrize("content", ["[]", "{}", "3", "null", '"step"', '{"step": 9}'])
def test_foreign_json_is_skipped(two, content):
    (two.folder / files_of(9)[0]).write_text(content, encoding="utf-8")
    assert_same(two.load_latest(), state_at(4))
    assert set(files_of(9, "damaged-")) <= set(names(two))


def test_weights_without_json_are_not_read(two):
    (two.folder / files_of(9)[0]).unlink()
    assert_same(two.load_latest(), state_at(4))


def test_nothing_intact_gives_none(two):
    for step in (4, 9):
        flip_a_bit(None, two.folder / files_of(step)[1])
    assert two.load_latest() is None
    assert names(two) == files_of(4, "damaged-") + files_of(9, "damaged-")


def test_a_run_keeps_saving_after_damage(two):
    flip_a_bit(None, two.folder / files_of(9)[1])
    two.load_latest()
    for step in (6, 9):
        two.save(state_at(step))
    assert names(two) == sorted(files_of(6) + files_of(9) + files_of(9, "damaged-"))
    assert_same(two.load_latest(), state_at(9))


def test_what_kills_left_unfinished_is_deleted_and_nothing_else(two):
    (two.folder / files_of(7)[1]).write_bytes(b"torn")
    (two.folder / "step-notes.txt").touch()
    shards = two.shards_of("step-00000008")
    shards.mkdir()
    (shards / "__0_0.distcp").write_bytes(b"torn")
    kept = two.shards_of("step-00000009")
    kept.mkdir()
    two.remove_unfinished()
    assert names(two) == sorted([*files_of(4), *files_of(9), kept.name, "step-notes.txt"])
    two.save(state_at(12))
    assert_same(two.load_latest(), state_at(12))


def test_clear_deletes_every_checkpoint(two):
    (two.folder / files_of(11)[1]).write_bytes(b"torn")
    two.clear()
    assert names(two) == []
    assert two.load_latest() is None


def test_clear_of_nothing_is_allowed(checkpoints):
    checkpoints.clear()
    assert not checkpoints.folder.exists()


def test_lock_refuses_a_second_holder(checkpoints):
    other = WorkingCheckpoints(checkpoints.folder)
    with checkpoints.locked(), pytest.raises(TinyLLMError) as caught, other.locked():
        pass
    message = str(caught.value)
    assert message.startswith("Another process is already doing this run")
    assert str(checkpoints.folder / "lock") in message
    assert message.endswith(".")
    assert "\n" not in message


def test_lock_refuses_another_process(checkpoints):
    script = (
        "import sys; from pathlib import Path\n"
        "from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    checkpoints.folder.mkdir(parents=True)
    command = [sys.executable, "-c", script, str(checkpoints.folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TinyLLMError, match="Another process"), checkpoints.locked():
            pass
        holder.stdin.close()
    with checkpoints.locked():
        assert checkpoints.folder.is_dir()


def test_lock_is_free_again_after_an_error(checkpoints):
    with pytest.raises(ZeroDivisionError), checkpoints.locked():
        raise ZeroDivisionError
    with WorkingCheckpoints(checkpoints.folder).locked():
        assert (checkpoints.folder / "lock").exists()


def test_locks_of_other_folders_are_independent(tmp_path):
    first, second = (WorkingCheckpoints(tmp_path / name) for name in "ab")
    with first.locked(), second.locked():
        assert first.folder.is_dir()
        assert second.folder.is_dir()


def test_locked_folder_saves_and_clears(checkpoints):
    with checkpoints.locked():
        checkpoints.save(state_at(1))
        assert_same(checkpoints.load_latest(), state_at(1))
        checkpoints.clear()
    assert names(checkpoints) in ([], ["lock"])


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handlers():
    """Handlers for both signals that record what they receive."""
    reached = []
    ours = {number: (lambda n, _frame: reached.append(n)) for number in SIGNALS}
    before = {number: signal.signal(number, handler) for number, handler in ours.items()}
    ours["reached"] = reached
    yield ours
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_only_asks_to_stop(handlers, number):
    with stop_on_signal() as asked:
        assert asked() == 0
        signal.raise_signal(number)
        assert asked() == number
    assert handlers["reached"] == []


def test_handlers_are_restored_also_after_an_error(handlers):
    def fail():
        assert all(signal.getsignal(number) is not handlers[number] for number in SIGNALS)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), stop_on_signal():
        fail()
    assert all(signal.getsignal(number) is handlers[number] for number in SIGNALS)
    signal.raise_signal(signal.SIGTERM)
    assert handlers["reached"] == [signal.SIGTERM]


def test_a_later_block_ignores_earlier_signals(handlers):
    with stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
    with stop_on_signal() as asked:
        assert asked() == 0


@pytest.mark.parametrize("second", SIGNALS)
@pytest.mark.parametrize("first", SIGNALS)
def test_the_second_signal_ends_the_process_at_once(first, second):
    """In a fork, which need not import anything."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def work():
        with stop_on_signal() as asked:
            theirs.send(asked())
            while asked() == 0:
                time.sleep(0.005)
            theirs.send(asked())
            while True:
                time.sleep(1)

    process = context.Process(target=work)
    process.start()
    theirs.close()
    assert ours.recv() == 0
    os.kill(process.pid, first)
    assert ours.recv() == first
    os.kill(process.pid, second)
    process.join()
    assert process.exitcode == -second
