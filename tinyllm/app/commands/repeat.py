"""`tinyllm repeat`."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tinyllm.app.commands.experiments import running, status_of
from tinyllm.base.command import WorkCommand
from tinyllm.base.errors import TinyLLMError

if TYPE_CHECKING:
    from tinyllm.app.experiments.experiment import Outcome
    from tinyllm.app.experiments.setting import Setting
    from tinyllm.app.tracking.parent import ParentRun


@click.command(cls=WorkCommand)
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True, help="How many.")
@click.option("-S", "--set-param", "fixed", multiple=True, help="A parameter for all of them.")
@click.option("--json", "as_json", is_flag=True, help="The result, for programs.")
def repeat(seeds: int, fixed: tuple[str, ...], *, as_json: bool) -> None:
    r"""Run the pipeline with several seeds, as DVC experiments: how much is luck?

    \b
    tinyllm repeat --seeds 5
    tinyllm repeat --seeds 5 -S train.learning_rate=0.02

    The seeds count up from train.seed. Prints mean and standard deviation of the bits per
    character; 'tinyllm significance A B' then compares two runs that were repeated. After an
    interruption or a kill, the same command resumes.
    """
    from tinyllm.app.experiments.noise import Spread
    from tinyllm.app.experiments.setting import find_setting
    from tinyllm.app.tracking.parent import ParentRun

    setting = find_setting("repeat", None, fixed, "repeat")
    parent = ParentRun(setting.name, setting.identity, setting.tracking)
    with running(setting.name):
        parent.open({"repeat.seeds": seeds})
        found = []
        try:
            for seed, outcome in _outcomes(setting, parent, seeds):
                found.append(outcome)
                bits = outcome.test["bits_per_character"]
                click.echo(f"  {outcome.name}  seed={seed}  {bits:.4f} on test", err=as_json)
        except BaseException as error:
            parent.close(status_of(error), {}, {}, f"{len(found)} of {seeds} seeds were run.")
            raise
        val = Spread(tuple(one.train["val_bits_per_character"] for one in found))
        test = Spread(tuple(one.test["bits_per_character"] for one in found))
        report = {
            "name": setting.name,
            "experiments": [one.name for one in found],
            "val": val.to_dict(),
            "test": test.to_dict(),
        }
        figures = {"val_bits_per_character": val.mean, "test_bits_per_character": test.mean}
        figures |= {"test_standard_deviation": test.deviation or 0.0}
        about = f"The same with {seeds} seeds: {test} bits per character on test."
        parent.close("FINISHED", figures, {"repeat.json": json.dumps(report, indent=2)}, about)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        click.echo(f"Bits per character on val {val}, on test {test}")


def _outcomes(
    setting: "Setting", parent: "ParentRun", seeds: int
) -> "Iterator[tuple[int, Outcome]]":
    """Run one seed after another.

    Raises:
        TinyLLMError: one did not finish.
    """
    from tinyllm.app.experiments.experiment import experiments_folder, run_experiment

    first = int(setting.params["train"]["seed"])
    for seed in range(first, first + seeds):
        name = f"{setting.name}-seed{seed}"
        outcome = run_experiment(
            name,
            {"train.seed": seed},
            overrides=setting.overrides,
            environment=parent.environment(),
            log=experiments_folder() / setting.name / f"{name}.log",
        )
        if outcome.state != "finished":
            raise TinyLLMError(f"Seed {seed} of {setting.name} failed: {outcome.reason}")
        parent.adopt(outcome.fingerprint, {"sweep.state": outcome.state})
        yield seed, outcome
