"""The work of prepare side by side, and again after it was stopped: never of another corpus."""

import json
import os
import pickle
import tracemalloc

import pytest

from tests.conftest import read_split
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.partial import partial_folder
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.splits import SPLITS
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.prepare import prepare_corpus
from tinyllm.corpus.source import local_file
from tinyllm.corpus.units import divide
from tinyllm.corpus.work import CleanJob, CutJob, clean_unit, cut_piece

CORPUS = "Où êtes-vous, ma chère?\r\n\r\n\r\nVoilà l'été 😀.\n" * 300


def clean_job(path):
    (unit,) = divide([local_file(path, path.name)], PrepareConfig())
    return CleanJob(unit, PrepareConfig(), str(path.parent))


@pytest.mark.medium
@pytest.mark.parametrize("split_by", ["file", "corpus", "lines"])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, split_by):
    (tmp_path / "raw").mkdir()
    for number in range(5):
        (tmp_path / f"raw/{number}.txt").write_text(CORPUS * (number + 1), encoding="utf-8")
    config = PrepareConfig(source=str(tmp_path / "raw"), split_by=split_by)
    for workers in (1, 2, 4):
        runtime = RuntimeConfig(workers=workers)
        prepare_corpus(config, tmp_path / f"out{workers}", runtime=runtime, unit=20_000)
    names = sorted(path.name for path in (tmp_path / "out1").iterdir())
    assert len(names) > 10
    for workers in (2, 4):
        other = tmp_path / f"out{workers}"
        assert sorted(path.name for path in other.iterdir()) == names
        assert all(
            (other / name).read_bytes() == (tmp_path / "out1" / name).read_bytes() for name in names
        )


def test_finished_units_are_not_read_again(tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(3):
        (tmp_path / f"raw/{number}.txt").write_text(CORPUS, encoding="utf-8")
    bad = tmp_path / "raw/3.txt"
    bad.write_bytes(b"\xff" * 9000)
    config = PrepareConfig(source=str(tmp_path / "raw"))
    with pytest.raises(TinyLLMError, match="is not utf-8"):
        prepare_corpus(config, tmp_path / "out", unit=9000)
    (kept,) = tmp_path.glob(".*.parts.unfinished")
    finished = [kept / f"{path.stem}-00.txt" for path in kept.glob("unit-*.json")]
    before = {path: path.stat().st_mtime_ns for path in finished}
    assert len(before) >= 3
    with pytest.raises(TinyLLMError, match="is not utf-8"):
        prepare_corpus(config, tmp_path / "out", unit=9000)
    assert before == {path: path.stat().st_mtime_ns for path in finished}
    bad.write_text("good\n" * 2000, encoding="utf-8")
    prepare_corpus(config, tmp_path / "out", unit=9000)
    assert not list(tmp_path.glob(".*.unfinished"))


def test_a_file_of_another_content_is_read_again_though_its_time_was_set_back(tmp_path):
    raw, bad = tmp_path / "raw", tmp_path / "raw/9.txt"
    raw.mkdir()
    (raw / "0.txt").write_text("old\n" * 2000)
    bad.write_bytes(b"\xff" * 9000)
    config = PrepareConfig(source=str(raw), split_by="corpus")
    with pytest.raises(TinyLLMError, match="is not utf-8"):
        prepare_corpus(config, tmp_path / "out", unit=9000)
    assert list(tmp_path.glob(".*.parts.unfinished/unit-000000-*.json"))
    time = (raw / "0.txt").stat().st_mtime_ns
    (raw / "0.txt").write_text("new\n" * 2000)
    os.utime(raw / "0.txt", ns=(time, time))
    bad.write_text("end\n")
    prepare_corpus(config, tmp_path / "out", unit=9000)
    found = "".join(read_split(tmp_path / "out", name) for name in SPLITS)
    assert found == "new\n" * 2000 + "end\n"


@pytest.mark.parametrize("change", ["another text\n", None])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, change):
    path = tmp_path / "a.txt"
    path.write_text("one text\n" * 100)
    job = clean_job(path)

    def interfere(_bytes):
        if change is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(change)

    with pytest.raises(TinyLLMError, match=r"a\.txt was changed while it was read; run it again"):
        clean_unit(job, interfere)
    assert not list(tmp_path.glob("unit-*.json"))


def test_the_same_work_is_not_done_twice_at_once(tmp_path):
    out, key = tmp_path / "out", "0" * 32
    folders = partial_folder(out, key), partial_folder(out, key)
    with folders[0], pytest.raises(TinyLLMError) as caught, folders[1]:
        pass
    assert "Another process is already writing" in str(caught.value)


def test_what_a_job_returns_does_not_grow_with_the_alphabet(tmp_path):
    (tmp_path / "a.txt").write_text("".join(map(chr, range(0x4E00, 0x4E00 + 9000))))
    result = clean_unit(clean_job(tmp_path / "a.txt"), lambda _bytes: None)
    assert len(pickle.dumps(result)) < 1000
    (piece,) = result["pieces"]
    job = CutJob(0, (piece,), (("train", 8000), ("val", 1000)), PrepareConfig(), str(tmp_path))
    cut = cut_piece(job, lambda _bytes: None)
    assert len(pickle.dumps(cut)) < 1000
    (val,) = cut["val"]
    assert json.loads((tmp_path / val["alphabet"]).read_bytes()) == {
        chr(code): 1 for code in range(0x4E00 + 8000, 0x4E00 + 9000)
    }


def test_a_line_of_many_pieces_is_held_few_times(tmp_path):
    count = 30_000_000
    text = "x y" * (count // 3) + "\nend\n"
    (tmp_path / "a.txt").write_text(text)
    (piece,) = clean_unit(clean_job(tmp_path / "a.txt"), lambda _bytes: None)["pieces"]
    job = CutJob(0, (piece,), None, PrepareConfig(), str(tmp_path))
    del text
    tracemalloc.start()
    found = cut_piece(job, lambda _bytes: None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [shard["characters"] for shard in found["train"]] == [count + 1]
    # which the last line is the first to be due for
    assert [shard["characters"] for shard in found["test"]] == [4]
    assert most < 5 * count


@pytest.mark.parametrize("kept", [5, None])
@pytest.mark.parametrize("slices", [(("train", 700), ("val", 200)), None])
def test_a_part_that_is_lost_before_it_is_cut_is_reported(tmp_path, kept, slices):
    (tmp_path / "a.txt").write_text("one text\n" * 100)
    (piece,) = clean_unit(clean_job(tmp_path / "a.txt"), lambda _bytes: None)["pieces"]
    part = tmp_path / piece["file"]
    if kept:
        os.truncate(part, kept)
    else:
        part.unlink()
    job = CutJob(0, (piece,), slices, PrepareConfig(), str(tmp_path))
    with pytest.raises(TinyLLMError, match=rf"{part.name}.*run it again"):
        cut_piece(job, lambda _bytes: None)
