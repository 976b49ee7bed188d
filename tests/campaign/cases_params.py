"""Cases: what can be known at the beginning is said at the beginning."""

from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import Result, World

PREFLIGHT = Mechanism.PREFLIGHT
_PARAMS = (Path(__file__).parent.parent / "pipeline" / "reduced.yaml").read_text("utf-8")


def _prepare(world: World, old: str, new: str) -> Result:
    """Run the first stage with a line of params.yaml changed."""
    assert old in _PARAMS
    place = world.folder / "project"
    place.mkdir(exist_ok=True)
    (place / "params.yaml").write_text(_PARAMS.replace(old, new), encoding="utf-8")
    corpus = place / "data/raw/sample"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "the-salt-duke.txt").write_text("What news, my lord?\n" * 500, encoding="utf-8")
    result = world.run("python", "-c", _STAGE, cwd=place)
    if result.code:
        assert not (place / "data/prepared").exists()
    return result


# as `python -m stages.prepare`, in a folder without a copy of the code
_STAGE = """
from tinyllm.base.command import run_stage
from tinyllm.corpus.command import prepare
run_stage(prepare, {"--out": "data/prepared"})
"""
_WRONG = {
    "width_1e6": ("`d_model` 10^6", "d_model: 32", "d_model: 1000000", "d_model"),
    "hidden_1e12": ("`d_ff` 10^12", "d_ff: 64", "d_ff: 1000000000000", "d_ff"),
    "batch_1e6": ("`batch_size` 10^6", "batch_size: 8", "batch_size: 1000000", "memory"),
    "accumulation_1e9": (
        "`gradient_accumulation_steps` 10^9",
        "batch_size: 8",
        "gradient_accumulation_steps: 1000000000",
        "gradient_accumulation_steps",
    ),
    "accumulation_1e6": (
        "`gradient_accumulation_steps` 10^6",
        "batch_size: 8",
        "gradient_accumulation_steps: 1000000",
        "memory",
    ),
    "wide_and_deep": (
        "1,000 layers of width 65,536",
        "d_model: 32, num_heads: 1, num_layers: 2",
        "d_model: 65536, num_heads: 512, num_layers: 1000",
        "memory",
    ),
    "format_twice": (
        "a format twice",
        "export: {}",
        "export: {formats: [gguf, gguf]}",
        "twice",
    ),
    "context_longer_than_text": (
        "a context longer than the validation split",
        "sequence_length: 64",
        "sequence_length: 16384",
        "window",
    ),
    "model_name_with_slash": (
        "`registered_model: team/tinyllm`",
        "tracking: {}",
        "tracking: {registered_model: team/tinyllm}",
        "registered_model",
    ),
    "model_name_with_colon": (
        "`registered_model: 'a:b'`",
        "tracking: {}",
        "tracking: {registered_model: 'a:b'}",
        "registered_model",
    ),
    "experiment_name_long": (
        "an experiment's name of 1,000 characters",
        "tracking: {}",
        f"tracking: {{experiment: {'x' * 1000}}}",
        "experiment",
    ),
    "llama_not_installed": (
        "`verify_with: [llama.cpp]`, which is not installed",
        "export: {}",
        "export: {verify_with: [llama.cpp]}",
        "pip install",
    ),
    "unknown_format": (
        "`formats: [pickle]`",
        "export: {}",
        "export: {formats: [pickle]}",
        "formats",
    ),
    "unknown_key_of_later_stage": (
        "a misspelt key of evaluate",
        "sample_length: 80",
        "sample_lenght: 80",
        "did you mean sample_length",
    ),
    "unknown_key_of_display": (
        "a misspelt key of display",
        "progress: false",
        "progres: false",
        "did you mean progress",
    ),
    "no_test_split": (
        "no test split, but it is to be evaluated",
        "prepare: {",
        "prepare: {test_fraction: 0, ",
        "evaluate.split",
    ),
    "no_prompts": ("no prompts", 'prompts: ["O, "]', "prompts: []", "prompts"),
    "processes_do_not_divide": (
        "three processes share four microbatches",
        "numerics: {mode: portable, threads: 1}",
        "numerics: {mode: portable, threads: 1, processes: 3}",
        "processes",
    ),
    "number_octal": ("`max_steps: 060`", "max_steps: 60", "max_steps: 060", "line 5"),
    "number_sexagesimal": ("`max_steps: 1:00`", "max_steps: 60", "max_steps: 1:00", "line 5"),
    "truth_yes": ("`progress: no`", "progress: false", "progress: no", "true or false"),
    "section_twice": ("a section twice", "tracking: {}", "tracking: {}\ntrain: {}", "twice"),
    "key_twice": ("a key twice", "max_steps: 60", "max_steps: 60, max_steps: 61", "twice"),
    "source_with_nul": (
        "NUL in prepare.source",
        "source: data/raw/sample/the-salt-duke.txt",
        'source: "a\\0b"',
        "NUL",
    ),
    "source_missing": (
        "a corpus that is not there",
        "source: data/raw/sample/the-salt-duke.txt",
        "source: nowhere.txt",
        "corpus",
    ),
    "encoding_unknown": (
        "an encoding that Python does not know",
        "prepare: {",
        "prepare: {encoding: utf-9, ",
        "encoding",
    ),
}


def _register(name: str, given: str, old: str, new: str, word: str) -> None:
    def check(world: World) -> None:
        _prepare(world, old, new).told(word)

    check.__name__ = name
    case(PREFLIGHT, f"{given}, first stage", "refused before anything is computed")(check)


for _name, _row in _WRONG.items():
    _register(_name, *_row)


@case(PREFLIGHT, "params as they should be, first stage", "runs")
def params_right(world: World) -> None:
    """What every other case changes works unchanged."""
    _prepare(world, "tracking: {}", "tracking: {}").succeeded("train")
