"""The fingerprint of a run depends on everything that can change a weight, and nothing else."""

import shutil
from pathlib import Path

import pytest

import tinyllm
from tinyllm.base.errors import ConfigError
from tinyllm.formats.closure import import_closure
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig
from tinyllm.training.recipe import Recipe

PACKAGES = {"base", "tokens", "model", "kernels", "training"}
PACKAGE = Path(tinyllm.__file__).parent
CODE = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

# another value for every field
OTHER_MODEL = {
    "d_model": 64,
    "num_heads": 2,
    "num_layers": 3,
    "d_ff": 100,
    "sequence_length": 64,
    "dropout": 0.1,
    "rope_theta": 700.0,
    "norm_eps": 1e-5,
    "tie_embeddings": True,
}
OTHER_TRAINING = {
    "seed": 1,
    "max_steps": 900,
    "batch_size": 17,
    "gradient_accumulation_steps": 2,
    "initial_attention": "random",
    "optimizer": "adamw",
    "learning_rate": 0.08,
    "embedding_learning_rate": 0.02,
    "warmup_steps": 21,
    "decay": "cosine",
    "decay_fraction": 0.5,
    "final_learning_rate_fraction": 0.1,
    "weight_decay": 0.2,
    "momentum": 0.8,
    "muon_beta2": 0.9,
    "adam_beta1": 0.8,
    "adam_beta2": 0.9,
    "teacher_order": 4,
    "teacher_weight": 0.5,
    "final_teacher_weight": 0.5,
    "gradient_clip": 2.0,
    "eval_interval": 60,
    "eval_characters": 99_999,
    "final_eval_characters": 99_999,
    "teacher_characters": 99_999,
}
OTHER_NUMERICS = {
    "mode": "fast",
    "device": "cpu",
    "precision": "float32",
    "threads": 3,
    "processes": 4,
    "parallelism": "fsdp",
    "compile": True,
}
FAST = NumericsConfig(mode="fast")


@pytest.fixture
def tokens(tokens, tmp_path):
    """A copy of the tokens, to be changed."""
    return shutil.copytree(tokens, tmp_path / "tokens")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose code the fingerprint then covers."""
    copy = tmp_path / "copy" / "tinyllm"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(tinyllm, "__file__", str(copy / "__init__.py"))
    return copy


def name_of(tokens, model=None, training=None, numerics=None, **how):
    recipe = Recipe(
        ModelConfig(**(model or {})),
        TrainingConfig(**(training or {})),
        numerics or NumericsConfig(),
    )
    return recipe.fingerprint(tokens, **how)


def test_the_other_values_differ_and_cover_every_field():
    tried = {
        ModelConfig: OTHER_MODEL,
        TrainingConfig: OTHER_TRAINING,
        NumericsConfig: OTHER_NUMERICS,
    }
    for section, others in tried.items():
        assert set(others) == set(section.model_fields)
        default = section()
        assert all(getattr(default, name) != value for name, value in others.items())


def test_a_fingerprint_is_32_digits_and_the_same_each_time(tokens):
    name = name_of(tokens)
    assert len(name) == 32
    assert set(name) <= set("0123456789abcdef")
    assert name_of(tokens) == name


def test_every_parameter_gives_another_fingerprint(tokens):
    names = [name_of(tokens)]
    names += [name_of(tokens, model={field: value}) for field, value in OTHER_MODEL.items()]
    names += [name_of(tokens, training={field: value}) for field, value in OTHER_TRAINING.items()]
    assert len(set(names)) == 1 + len(OTHER_MODEL) + len(OTHER_TRAINING)


@pytest.mark.parametrize("field", OTHER_NUMERICS)
def test_numerics_give_another_fingerprint_if_they_can_change_a_bit(tokens, field):
    portable, fast = NumericsConfig(), FAST
    value = {field: OTHER_NUMERICS[field]}
    changes = name_of(tokens, numerics=portable.model_copy(update=value)) != name_of(tokens)
    assert changes == (field not in ("threads", "processes", "parallelism"))
    if field != "mode":
        names = [name_of(tokens, numerics=n) for n in (fast, fast.model_copy(update=value))]
        assert (names[0] != names[1]) == (field != "processes")


@pytest.mark.parametrize("file", ["train-00000.bin", "val-00000.bin", "tokenizer.json"])
def test_every_byte_of_the_token_files_counts(tokens, file):
    path, before = tokens / file, name_of(tokens)
    data = path.read_bytes()
    seen = {before}
    for place in (0, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        seen.add(name_of(tokens))
    for other in (data[:-1], data + b"\0", b""):
        path.write_bytes(other)
        seen.add(name_of(tokens))
    assert len(seen) == 7
    path.write_bytes(data)
    assert name_of(tokens) == before


def test_a_byte_that_moves_from_one_file_to_the_next_counts(tokens):
    before = name_of(tokens)
    first, second = tokens / "train-00000.bin", tokens / "val-00000.bin"
    first_data, second_data = first.read_bytes(), second.read_bytes()
    first.write_bytes(first_data[:-1])
    second.write_bytes(first_data[-1:] + second_data)
    assert name_of(tokens) != before


def test_the_held_out_split_and_the_place_of_the_tokens_do_not_count(tokens, tmp_path):
    before = name_of(tokens)
    (tokens / "test-00000.bin").write_bytes(b"other")
    assert name_of(tokens) == before
    assert name_of(shutil.move(tokens, tmp_path / "elsewhere")) == before


def test_the_place_of_the_code_does_not_count(tokens, request):
    before = name_of(tokens)
    request.getfixturevalue("package")
    assert name_of(tokens) == before


def test_code_counts_only_where_it_can_change_a_weight(tokens, package):
    before = name_of(tokens)
    assert {path.partition("/")[0] for path in CODE} > PACKAGES
    for path in CODE:
        file = package / path
        content = file.read_bytes()
        file.write_bytes(content + b"#")
        assert (name_of(tokens) != before) == (path.partition("/")[0] in PACKAGES), path
        file.write_bytes(content)
    assert name_of(tokens) == before


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_an_added_removed_or_renamed_file_counts(tokens, package, name):
    names = {name_of(tokens)}
    (package / name / "new.py").write_text("")
    names.add(name_of(tokens))
    (package / name / "new.py").rename(package / name / "other.py")
    names.add(name_of(tokens))
    (package / name / "other.py").unlink()
    (package / name / "__init__.py").unlink()
    names.add(name_of(tokens))
    assert len(names) == 4


def test_without_the_seed_runs_that_differ_only_in_it_share_a_fingerprint(tokens):
    names = {name_of(tokens, training={"seed": seed}, with_seed=False) for seed in (0, 1, 1337)}
    assert len(names) == 1
    assert not names & {name_of(tokens, training={"seed": seed}) for seed in (0, 1, 1337)}
    for field, value in OTHER_TRAINING.items():
        other = name_of(tokens, training={field: value}, with_seed=False)
        assert (other in names) == (field == "seed")


def test_the_sections_have_the_names_of_params_yaml():
    recipe = Recipe()
    assert recipe.sections() == {
        "model": ModelConfig(),
        "train": TrainingConfig(),
        "numerics": NumericsConfig(),
    }


def test_training_imports_nothing_whose_code_does_not_count():
    outside = [
        path.as_posix()
        for path in import_closure("tinyllm.training.command", "tinyllm.training.workers")
        if path.parts[1] not in PACKAGES
    ]
    assert outside == ["tinyllm/__init__.py"]


@pytest.mark.parametrize(
    ("mode", "processes", "microbatches", "windows"),
    [
        ("portable", 1, 3, 5),
        ("portable", 3, 3, 5),
        ("portable", 2, 4, 5),
        ("fast", 4, 1, 8),
        ("fast", 6, 3, 4),
    ],
)
def test_processes_that_can_share_a_batch_are_accepted(mode, processes, microbatches, windows):
    config = TrainingConfig(gradient_accumulation_steps=microbatches, batch_size=windows)
    numerics = NumericsConfig(mode=mode, processes=processes)
    Recipe(training=config, numerics=numerics).check_processes()


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        (
            "portable",
            (
                "numerics.processes (2) must divide train.gradient_accumulation_steps (3) evenly; "
                "only in mode 'fast' do they share the windows of a step."
            ),
        ),
        (
            "fast",
            (
                "numerics.processes (2) must divide the windows of a step evenly, train.batch_size "
                "times train.gradient_accumulation_steps (15)."
            ),
        ),
    ],
)
def test_processes_that_cannot_share_a_batch_are_refused(mode, sentence):
    config = TrainingConfig(gradient_accumulation_steps=3, batch_size=5)
    with pytest.raises(ConfigError) as caught:
        Recipe(training=config, numerics=NumericsConfig(mode=mode, processes=2)).check_processes()
    assert str(caught.value) == sentence
