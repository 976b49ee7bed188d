"""Where bytes are not portable, the losses are compared by the noise of the seeds."""

import json
import platform
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from mlflow.entities import Metric, Param

from tests.app.verification.clones import (
    Pipeline,
    flip_a_bit,
    flip_a_weight,
    make_repository,
    other_losses,
    write_lock,
)
from tests.project import run_in
from tinyllm.app.cli import main
from tinyllm.app.params import flatten, load_params
from tinyllm.app.tracking.store import connect, experiment_id
from tinyllm.app.verification.figures import USUAL_SHARE, Figure
from tinyllm.app.verification.verify import Verification, verify
from tinyllm.base.errors import TinyLLMError

FAST = "prepare: {source: raw.txt}\nnumerics: {mode: fast}\n"


@pytest.fixture
def project(workspace):
    """A committed project in mode fast whose pipeline ran here."""
    make_repository(workspace)
    (workspace / "params.yaml").write_text(FAST, encoding="utf-8")
    run_in(workspace, "git", "commit", "--quiet", "--all", "--message", "fast")
    return workspace


@pytest.fixture
def rebuilt(project):
    """What verify finds if the clone's pipeline has faults."""

    def found(*faults, changes=()):
        pipeline = Pipeline()
        pipeline.faults += faults
        return verify(project, pipeline, lambda _root: list(changes))

    return found


def record(seed, val, test):
    """A run in MLflow with the project's parameters and another seed."""
    client = connect()
    run = client.create_run(experiment_id(client, "tinyllm")).info.run_id
    params = flatten(load_params(Path("params.yaml")))
    params |= {"train.seed": seed, "numerics.mode": "portable"}
    metrics = {"val_bits_per_character": val, "test_bits_per_character": test}
    client.log_batch(
        run,
        [Metric(key, value, 0, 0) for key, value in metrics.items()],
        [Param(key, str(value)) for key, value in params.items()],
    )
    client.set_terminated(run)


def test_the_same_bytes_need_no_statistics(rebuilt):
    report = rebuilt()
    assert (report.verdict, report.figures, report.drifted) == ("same bytes", [], [])


def test_other_weights_with_losses_within_the_noise_are_statistically_the_same(rebuilt):
    report = rebuilt(other_losses(0.02, -0.02))
    assert report.verdict == "statistically the same"
    assert report.reproduced
    assert report.differences == []
    assert report.drifted == [
        "evaluate: reports/evaluate/metrics.json",
        "train: models/checkpoint",
        "train: reports/train/metrics.json",
    ]
    val, test = report.figures
    assert (val.split, test.split) == ("val", "test")
    assert str(val) == (
        "val 1.8900 bits per character against 1.8700, difference +0.0200, within 0.0311 (the "
        "noise of a seed: standard deviation 0.0112, taken as 0.6% of the figure, since no seeds "
        "were repeated)"
    )
    assert report.to_dict()["verdict"] == "statistically the same"
    assert report.to_dict()["figures"][1]["agrees"] is True


@pytest.mark.parametrize("apart", [(0.04, 0.0), (0.0, 0.04), (-0.04, 0.0)])
def test_a_loss_beyond_the_noise_is_different_though_it_be_better(rebuilt, apart):
    report = rebuilt(other_losses(*apart))
    assert report.verdict == "different"
    assert not report.reproduced


def test_repeated_seeds_say_what_the_noise_is(project, rebuilt):
    for seed, val in enumerate((1.869, 1.870, 1.871)):
        record(seed, val, 1.9 + (val - 1.87) * 10)
    report = rebuilt(other_losses(0.005, 0.05))
    assert report.verdict == "statistically the same"
    val, test = report.figures
    assert (val.seeds, test.seeds) == (3, 3)
    # Student's quantile for three seeds times the square root of two
    assert val.limit == pytest.approx(4.3027 * 1.41421 * 0.001, rel=1e-4)
    assert test.limit == pytest.approx(10 * val.limit, rel=1e-4)
    assert rebuilt(other_losses(0.0062, 0.0)).verdict == "different"


@pytest.mark.parametrize(
    ("path", "key", "value", "said"),
    [
        ("reports/evaluate/metrics.json", "characters", 7, "characters is 7, rebuilt 35"),
        ("reports/evaluate/metrics.json", "baseline_bits_per_character", 9.9, "rebuilt 2.1"),
        ("reports/evaluate/metrics.json", "loss", 0.1, "contradict each other"),
        ("reports/train/metrics.json", "parameters", 1, "parameters is 1, rebuilt 869"),
    ],
)
def test_what_no_rounding_explains_is_different(project, rebuilt, path, key, value, said):
    metrics = json.loads((project / path).read_text(encoding="utf-8"))
    (project / path).write_text(json.dumps({**metrics, key: value}), encoding="utf-8")
    commit_damage(project)
    report = rebuilt()
    assert report.verdict == "different"
    assert any(said in difference for difference in report.differences)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "many", None])
def test_a_figure_that_is_no_number_is_damage(project, rebuilt, value):
    path = project / "reports/evaluate/metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**metrics, "bits_per_character": value}), encoding="utf-8")
    commit_damage(project)
    with pytest.raises(TinyLLMError, match="is damaged"):
        rebuilt()


def commit_damage(folder):
    write_lock(folder)
    run_in(folder, "git", "commit", "--quiet", "--all", "--message", "better figures")


def test_data_and_tokens_must_have_the_same_bytes_everywhere(rebuilt):
    report = rebuilt(lambda clone: flip_a_bit(clone / "data/tokens/train.bin", 150))
    assert report.verdict == "different"
    assert report.differences[0].startswith("tokenize: data/tokens/train.bin: differs from byte")


def test_an_out_that_was_not_written_is_no_noise(rebuilt, monkeypatch):
    monkeypatch.setattr("tests.app.verification.clones.write_lock", without_checkpoint)
    report = rebuilt(flip_a_weight)
    assert report.verdict == "different"
    assert report.differences[0].startswith("train: models/checkpoint/model.safetensors")


def without_checkpoint(folder):
    write_lock(folder)
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))
    del lock["stages"]["train"]["outs"][0]
    (folder / "dvc.lock").write_text(json.dumps(lock), encoding="utf-8")


def test_a_change_since_the_lock_is_another_pipeline(rebuilt):
    assert rebuilt(changes=["train: parameter train.seed is 1"]).verdict == "different"


def test_where_bytes_are_portable_figures_excuse_nothing(project, rebuilt):
    (project / "params.yaml").write_text("prepare: {source: raw.txt}\n", encoding="utf-8")
    report = rebuilt(other_losses(0.0001, 0.0))
    assert report.verdict == "different"
    assert report.figures == []


@pytest.fixture
def elsewhere(project, monkeypatch):
    """A portable project, after a run on a machine that cannot be portable."""
    (project / "params.yaml").write_text("prepare: {source: raw.txt}\n", encoding="utf-8")
    run_in(project, "git", "commit", "--quiet", "--all", "--message", "portable")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    run_here(project, 0.03)
    return project


def run_here(project, nudge):
    """What a run leaves: other weights, losses and their checksums."""
    other_losses(nudge, nudge)(project)
    write_lock(project)


def test_elsewhere_the_committed_figures_count_and_not_those_of_the_run_here(elsewhere, rebuilt):
    report = rebuilt(other_losses(0.031, 0.031))
    assert report.verdict == "statistically the same"
    assert [figure.committed for figure in report.figures] == [1.87, 1.9]
    assert rebuilt(other_losses(0.04, 0.03)).verdict == "different"


def test_figures_of_other_code_or_parameters_are_no_measure(elsewhere, rebuilt):
    (elsewhere / "code.py").write_text("another\n", encoding="utf-8")
    run_here(elsewhere, 0.5)
    report = rebuilt(other_losses(0.51, 0.5))
    assert report.verdict == "statistically the same"
    assert [figure.committed for figure in report.figures] == [2.37, 2.4]


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"val_bits_per_character": "x"}', "{"])
def test_damaged_figures_are_named(project, rebuilt, text):
    for name in ("train", "evaluate"):
        (project / f"reports/{name}/metrics.json").write_text(text, encoding="utf-8")
    run_in(project, "git", "commit", "--quiet", "--all", "--message", "damaged")
    with pytest.raises(TinyLLMError, match=r"reports/train/metrics\.json.*run 'dvc repro'"):
        rebuilt(other_losses(0.0, 0.0))


FIGURE = Figure("val", 1.87, 1.88, USUAL_SHARE * 1.87, 0)


@pytest.mark.parametrize(
    ("figure", "code", "verdict"),
    [
        (
            FIGURE,
            0,
            "Statistically the same: 12 outs of dvc.lock compared, 11 with the same bytes.",
        ),
        (
            Figure("val", 1.87, 1.98, 0.001, 5),
            1,
            "NOT reproduced: 12 outs of dvc.lock compared, 11 with the same bytes.",
        ),
    ],
)
def test_the_command_shows_the_figures_and_exits_by_them(monkeypatch, figure, code, verdict):
    report = Verification(
        outs=12, portable=False, drifted=["train: models/checkpoint"], figures=[figure]
    )
    monkeypatch.setattr("tinyllm.app.verification.verify.verify", lambda *_: report)
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == code
    assert result.stdout.splitlines() == [
        "other bytes, as fast arithmetic writes them: train: models/checkpoint",
        f"figure: {figure}",
        verdict,
    ]
    as_json = json.loads(CliRunner().invoke(main, ["verify", "--json"]).stdout)
    assert as_json["figures"][0]["limit"] == pytest.approx(figure.limit)
