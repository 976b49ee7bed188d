"""`tinyllm repeat`."""

import json
from typing import TYPE_CHECKING

import click

from tinyllm.app.commands.experiments import running, status_of, workers_option
from tinyllm.base.command import WorkCommand
from tinyllm.base.errors import TinyLLMError

if TYPE_CHECKING:
    from tinyllm.app.experiments.experiment import Outcome
    from tinyllm.app.tracking.parent import ParentRun


@click.command(cls=WorkCommand)
@click.option("--seeds", type=click.IntRange(2), default=5, show_default=True, help="How many.")
@workers_option
@click.option("-S", "--set-param", "fixed", multiple=True, help="A parameter for all of them.")
@click.option("--json", "as_json", is_flag=True, help="The result, for programs.")
def repeat(seeds: int, workers: int, fixed: tuple[str, ...], *, as_json: bool) -> None:
    r"""Run the pipeline with several seeds, as DVC experiments: how much is luck?

    \b
    tinyllm repeat --seeds 5
    tinyllm repeat --seeds 5 -S train.learning_rate=0.02

    The seeds count up from train.seed. Prints mean and standard deviation of the bits per
    character; 'tinyllm significance A B' then compares two runs that were repeated. After an
    interruption or a kill, the same command resumes.

    Several at a time take numerics.threads cores each; that changes no result. With
    -S runtime.engine=ray they run on the cluster that RAY_ADDRESS names, whose machines share the
    project's folder.
    """
    from tinyllm.app.experiments.noise import Spread
    from tinyllm.app.experiments.setting import find_setting
    from tinyllm.app.experiments.trials import Trials
    from tinyllm.app.tracking.parent import ParentRun

    setting = find_setting("repeat", None, fixed, "repeat")
    parent = ParentRun(setting.name, setting.identity, setting.tracking)
    with running(setting.name):
        runner = Trials(setting, parent, workers)
        parent.open({"repeat.seeds": seeds})
        found: list[Outcome] = []
        try:
            first = int(setting.params["train"]["seed"])
            points = {
                f"{setting.name}-seed{seed}": {"train.seed": seed}
                for seed in range(first, first + seeds)
            }

            def take(outcome: "Outcome") -> None:
                _check(outcome, parent)
                found.append(outcome)
                seed = points[outcome.name]["train.seed"]
                bits = outcome.test["bits_per_character"]
                click.echo(f"  {outcome.name}  seed={seed}  {bits:.4f} on test", err=as_json)

            runner.run(points, take)
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


def _check(outcome: "Outcome", parent: "ParentRun") -> None:
    """Tag the run.

    Raises:
        TinyLLMError: it did not finish.
    """
    parent.adopt(outcome.fingerprint, {"sweep.state": outcome.state})
    if outcome.state != "finished":
        raise TinyLLMError(f"{outcome.name} failed: {outcome.reason}")
