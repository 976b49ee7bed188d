"""What differs is named: the file, the byte, the tensor, the step."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinyllm.app.tracking.journal import Journal
from tinyllm.app.verification.compare import compare_paths, first_differing_step


@pytest.fixture
def sides(tmp_path):
    """Two empty folders."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


def test_equal_folders_have_no_differences(sides):
    for side in sides:
        (side / "x").mkdir()
        (side / "x" / "file.txt").write_text("same", encoding="utf-8")
    assert compare_paths(*sides, "out") == []


def test_the_first_byte_that_differs_is_named(sides):
    (sides[0] / "history.csv").write_bytes(b"step,loss\n1,2\n")
    (sides[1] / "history.csv").write_bytes(b"step,loss\n1,3\n")
    (difference,) = compare_paths(*sides, "out")
    assert str(difference).startswith("out/history.csv: differs from byte 12 (line 2) on")


def test_a_missing_file_is_named(sides):
    (sides[0] / "only-here").touch()
    (difference,) = compare_paths(*sides, "out")
    assert str(difference) == "out/only-here: is missing rebuilt"


def test_the_tensor_and_the_place_in_it_are_named(sides):
    weights = {name: np.zeros((3, 4), dtype=np.float32) for name in ("first", "second")}
    save_file(weights, sides[0] / "model.safetensors")
    weights["second"].view(np.uint32)[1, 2] ^= 1
    save_file(weights, sides[1] / "model.safetensors")
    (difference,) = compare_paths(*sides, "models")
    assert "tensor second at [1, 2]" in str(difference)


def test_a_header_that_differs_is_no_tensor(sides):
    weights = {"w": np.zeros(2, dtype=np.float32)}
    save_file(weights, sides[0] / "m.safetensors")
    save_file(weights, sides[1] / "m.safetensors", metadata={"format": "pt"})
    (difference,) = compare_paths(*sides, "out")
    assert "the header differs" in str(difference)


def test_the_first_step_whose_numbers_differ_is_found(tmp_path):
    journals = [Journal(tmp_path / name, "run") for name in ("a", "b")]
    for journal, nudge in zip(journals, (0.0, 1e-9), strict=True):
        for step in (10, 20, 30):
            loss = 1.0 / step + (nudge if step >= 20 else 0)
            journal.add_metrics(step, {"train_loss": loss, "characters_per_second": step + nudge})
    assert first_differing_step(*journals) == 20
    assert first_differing_step(journals[0], journals[0]) is None
