"""From raw files to three clean splits and a summary of them, in memory that does not grow.

The corpus is divided into units of about 64 MB, which are cleaned side by side. Only then it is
known how many characters there are, and so where train ends and val begins: whatever lies in one
split stays as it is, and the rest is cut.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.events import Advance, progress
from tinyllm.base.files import read_json, write_json
from tinyllm.base.jobs import run_jobs
from tinyllm.base.outs import OutFolder, check_places
from tinyllm.base.partial import key_of, partial_folder, place_file
from tinyllm.base.prepared import SUMMARY
from tinyllm.base.replacing import new_directory
from tinyllm.base.runtime import RuntimeConfig
from tinyllm.base.splits import SPLITS, shard_name, shard_patterns
from tinyllm.base.text import plain
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.listing import list_corpus
from tinyllm.corpus.read import DETECT
from tinyllm.corpus.shards import join_facts
from tinyllm.corpus.source import SourceFile, place_here
from tinyllm.corpus.split import Slice, connected, cut_pieces
from tinyllm.corpus.units import UNIT, divide
from tinyllm.corpus.warn import some, warn
from tinyllm.corpus.work import CleanJob, CutJob, clean_unit, cut_piece

PREPARED = OutFolder(
    writer="tinyllm prepare",
    files=(*shard_patterns("txt"), SUMMARY),
    mark=SUMMARY,
    sign=frozenset({"files", *SPLITS}),
)


def prepare_corpus(
    config: PrepareConfig,
    out: Path,
    tell: Callable[[str], object] = lambda _line: None,
    runtime: RuntimeConfig | None = None,
    unit: int = UNIT,
) -> dict[str, Any]:
    """Read, clean and split the corpus; write `train-00000.txt` and so on, and `summary.json`.

    Args:
        config: where the corpus is, how it is cleaned and split.
        out: the folder to write; an earlier one is replaced.
        tell: receives lines that say which files were taken, left out, and read as what.
        runtime: how many workers, and where.
        unit: bytes of a unit and of a shard.

    Returns:
        The summary: characters, bytes, lines, fingerprint, alphabet and shards of each split.

    Raises:
        ConfigError: `out` holds something else, or overlaps with the corpus.
        TinyLLMError: no corpus, an unreadable or undecodable file, or too little text.
    """
    place = place_here(config.source)
    check_places({"--out": (out, PREPARED)}, {"prepare.source": place} if place else {})
    files, found = list_corpus(config)
    tell(f"{plain(config.source)}: {found}")
    _refuse_links_into(out, files)
    key = key_of({"prepare": config.model_dump(), "unit": unit}, "base", "corpus")
    with partial_folder(out, key) as folder:
        plan = _Plan(config, folder, runtime or RuntimeConfig(), unit)
        cleaned = _clean(files, plan)
        if config.encoding == DETECT:
            _tell_encodings(files, cleaned, tell)
        shards = _cut(cleaned, plan)
        summary = {"files": len(files), **{name: _join(shards[name], folder) for name in SPLITS}}
        _check(config, summary)
        warn(config, files, cleaned, shards, folder)
        _publish(summary, shards, folder, out)
    return summary


@dataclass(frozen=True)
class _Plan:
    """How the jobs of a corpus are done."""

    config: PrepareConfig
    folder: Path
    runtime: RuntimeConfig
    unit: int

    def run(self, what: str, work: Callable[[Any, Advance], Any], jobs: Sequence[Any]) -> list[Any]:
        """Do all jobs, and show how far they are."""
        with progress(f"prepare: {what}", sum(job.size for job in jobs)) as advance:
            return run_jobs(work, jobs, self.runtime, advance)

    @property
    def place(self) -> str:
        """The folder as workers anywhere know it."""
        return str(self.folder.absolute())


def _clean(files: Sequence[SourceFile], plan: _Plan) -> list[dict[str, Any]]:
    units = divide(files, plan.config, plan.unit)
    jobs = [CleanJob(unit, plan.config, plan.place, plan.unit) for unit in units]
    return plan.run("clean", clean_unit, jobs)


def _cut(cleaned: Sequence[dict[str, Any]], plan: _Plan) -> dict[str, list[dict[str, Any]]]:
    """Cut what was cleaned into splits; return the shards of each, in order."""
    pieces = [piece for unit in cleaned for piece in unit["pieces"]]
    parts: list[tuple[list[dict[str, Any]], tuple[Slice, ...] | None]]
    if plan.config.split_by == "lines":
        parts = [(group, None) for group in connected(pieces)]
    else:
        cuts = cut_pieces([piece["segments"] for piece in pieces], plan.config)
        parts = [([piece], tuple(cut)) for piece, cut in zip(pieces, cuts, strict=True)]
    jobs = {
        number: CutJob(number, tuple(part), cut and tuple(cut), plan.config, plan.place)
        for number, (part, cut) in enumerate(parts)
        if cut is None or len(cut) > 1
    }
    done = dict(zip(jobs, plan.run("split", cut_piece, [*jobs.values()]), strict=True))
    shards: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLITS}
    for number, (part, cut) in enumerate(parts):
        if cut is not None and len(cut) == 1:
            shards[cut[0][0]] += part
        for name, written in done.get(number, {}).items():
            shards[name] += written
    return shards


def _join(shards: Sequence[dict[str, Any]], folder: Path) -> dict[str, Any]:
    return join_facts(shards, (read_json(folder / shard["alphabet"]) for shard in shards))


def _check(config: PrepareConfig, summary: dict[str, Any]) -> None:
    """Refuse a corpus that leaves nothing for a split.

    Raises:
        TinyLLMError: it has too little text.
    """
    if all(character.isspace() for name in SPLITS for character in summary[name]["alphabet"]):
        raise TinyLLMError(f"The corpus at {plain(config.source)} is empty; put some text into it.")
    unit = "lines" if config.split_by == "lines" else "characters"
    count = sum(summary[name][unit] for name in SPLITS)
    amount = f"{count} {unit if count != 1 else unit.removesuffix('s')}"
    for name in SPLITS:
        if not summary[name]["characters"] and (name != "test" or config.test_fraction > 0):
            raise TinyLLMError(
                f"The corpus at {plain(config.source)} has {amount}, too few to leave any "
                f"for {name}; add text, or change prepare.{name}_fraction or prepare.split_by."
            )


def _publish(
    summary: dict[str, Any], shards: dict[str, list[dict[str, Any]]], folder: Path, out: Path
) -> None:
    """Put the shards into the out, under their final names, and describe them."""
    with new_directory(out, PREPARED) as new:
        for name in SPLITS:
            summary[name]["shards"] = []
            for number, shard in enumerate(shards[name]):
                file = shard_name(name, number, "txt")
                place_file(folder / shard["file"], new / file)
                facts = {key: shard[key] for key in ("characters", "bytes", "sha256")}
                summary[name]["shards"].append({"file": file, **facts})
        write_json(new / SUMMARY, summary)


def _refuse_links_into(out: Path, files: Sequence[SourceFile]) -> None:
    """Reject files of the corpus that are links into the folder about to be replaced."""
    place = out.resolve()
    # the survey looks behind no link to a folder
    links = (file for file in files if not file.is_remote and Path(file.path).is_symlink())
    for file in links:
        if Path(file.path).resolve().is_relative_to(place):
            raise ConfigError(
                f"{file.path} in the corpus is a link into the folder to write, {out}; name "
                f"another."
            )


def _tell_encodings(
    files: Sequence[SourceFile],
    cleaned: Sequence[dict[str, Any]],
    tell: Callable[[str], object],
) -> None:
    detected: dict[str, list[str]] = {}
    for span in (span for unit in cleaned for span in unit["files"]):
        detected.setdefault(span["encoding"], []).append(files[span["number"]].base)
    for encoding, names in detected.items():
        tell(f"  read as {encoding}: {some(names)}")
