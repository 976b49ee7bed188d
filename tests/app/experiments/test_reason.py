"""What is said of an experiment that failed."""

import pytest

from tinyllm.app.experiments.experiment import _reason


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "ERROR: [Errno 2] No such file or directory: '/p/sweeps/s/copies/s-1/texts/mine.txt'",
            "git add texts/mine.txt && git commit",
        ),
        ("Error: train.seed: too small.\nERROR: failed to reproduce 'train'", "too small"),
        ("ERROR: something of DVC's", "something of DVC's"),
        ("", "does not say why; its output is in /"),
    ],
)
def test_the_reason_is_a_sentence_for_the_user(tmp_path, log, words):
    (tmp_path / "log").write_text(log, encoding="utf-8")
    assert words in _reason(tmp_path / "log")
