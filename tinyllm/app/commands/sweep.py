"""`tinyllm sweep`."""

import json
import shlex
from typing import TYPE_CHECKING, Any

import click

from tinyllm.app.commands.experiments import running, status_of, workers_option
from tinyllm.base.command import WorkCommand

if TYPE_CHECKING:
    from tinyllm.app.experiments.sweep import Sweep, TrialFacts


@click.command(cls=WorkCommand)
@click.option("-s", "--space", multiple=True, required=True, help="A parameter and what to try.")
@click.option("-S", "--set-param", "fixed", multiple=True, help="A parameter for all trials.")
@click.option("--trials", type=click.IntRange(1), default=12, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@workers_option
@click.option("--name", help="Of the sweep and its experiments.  [default: made from all of this]")
@click.option("--prune/--no-prune", default=True, show_default=True, help="Stop hopeless trials.")
@click.option("--json", "as_json", is_flag=True, help="The result, for programs.")
def sweep(
    space: tuple[str, ...],
    fixed: tuple[str, ...],
    trials: int,
    seed: int,
    workers: int,
    name: str | None,
    *,
    prune: bool,
    as_json: bool,
) -> None:
    r"""Search for good model and train parameters, by loss on the validation split.

    \b
    tinyllm sweep -s 'train.learning_rate=log(0.003,0.3)'
    tinyllm sweep -s 'train.learning_rate=log(0.003,0.3)' -s 'model.num_layers=[2,4,6]' \
                  --trials 20 -S train.max_steps=400

    \b
    A search space is one of
      log(LOW,HIGH)             by orders of magnitude: learning rates
      uniform(LOW,HIGH)         evenly; whole numbers where the parameter is one
      uniform(LOW,HIGH,STEP)    evenly, in steps
      [A,B,C]                   one of these

    Optuna draws the points, first at random and then near the good ones. Each runs as a DVC
    experiment up to its evaluation; those in the worst quarter at the same training step are
    stopped. After an interruption or a kill, the same command resumes. In MLflow, all are
    children of one run. At the end, it prints a command that applies the best.

    Several at a time take numerics.threads cores each. Optuna draws that many points before it
    learns how any of them did, so another number may draw other points; with the same number,
    the trials are the same wherever they run. With -S runtime.engine=ray they run on the cluster
    that RAY_ADDRESS names, whose machines share the project's folder.
    """
    from tinyllm.app.experiments.setting import find_setting
    from tinyllm.app.experiments.space import parse_space
    from tinyllm.app.experiments.sweep import Sweep
    from tinyllm.app.experiments.trials import Trials
    from tinyllm.app.tracking.parent import ParentRun

    axes = parse_space(space)
    # more trials continue the same sweep
    setting = find_setting("sweep", name, fixed, {"space": sorted(space), "seed": seed})
    parent = ParentRun(setting.name, setting.identity, setting.tracking)
    with running(setting.name):
        runner = Trials(setting, parent, workers)
        study = Sweep(
            setting,
            axes,
            trials,
            seed,
            parent,
            prune=prune,
            report=lambda facts: click.echo(_line(facts), err=as_json),
        )
        parent.open({"sweep.trials": trials, "sweep.seed": seed, "sweep.space": " ".join(space)})
        click.echo(f"Sweep {setting.name}, {trials} trials", err=as_json)
        try:
            study.run(runner)
        except BaseException as error:
            _close(study, status_of(error))
            raise
        _close(study, "FINISHED")
    report = _report(study)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _show(report)


def _report(study: "Sweep") -> dict[str, Any]:
    trials = study.facts()
    best = next((trial for trial in trials if trial.state == "finished"), None)
    return {
        "name": study.setting.name,
        "trials": [trial.to_dict() for trial in trials],
        "best": None if best is None else best.to_dict(),
        "apply": None if best is None else _apply(study, best),
    }


def _apply(study: "Sweep", best: "TrialFacts") -> str:
    """The command that runs the best in the workspace, with DVC's run cache instead of training.

    `dvc exp apply` needs the commit's exports in DVC's cache, so it fails in a clone whose
    pipeline never ran.
    """
    from tinyllm.app.experiments.space import override

    sets = [*study.setting.overrides, *(override(key, best.params[key]) for key in best.params)]
    return shlex.join(["dvc", "exp", "run", *(word for text in sets for word in ("-S", text))])


def _close(study: "Sweep", status: str) -> None:
    report = _report(study)
    best = report["best"]
    figures = {"sweep_trials": float(len(report["trials"]))}
    about = (
        f"A sweep of {len(report['trials'])} trials over {', '.join(a.key for a in study.axes)}."
    )
    if best is not None:
        figures |= {"val_bits_per_character": best["val"], "test_bits_per_character": best["test"]}
        point = ", ".join(f"`{key}={value}`" for key, value in best["params"].items())
        about += f" Best on the validation split: **{best['name']}** with {point}."
    texts = {"sweep.json": json.dumps(report, indent=2)}
    study.parent.close(status, figures, texts, about)


def _line(facts: "TrialFacts") -> str:
    point = " ".join(f"{key.partition('.')[2]}={value}" for key, value in facts.params.items())
    figure = "" if facts.val is None else f"{facts.val:.4f} bits per character on val"
    return f"  {facts.name}  {point}  {figure or facts.state}"


def _show(report: dict[str, Any]) -> None:
    from tinyllm.app.tables import make_table, show

    keys = list(dict.fromkeys(key for trial in report["trials"] for key in trial["params"]))
    rows = []
    for trial in report["trials"]:
        bits = ["" if trial[of] is None else f"{trial[of]:.4f}" for of in ("val", "test")]
        point = [str(trial["params"].get(key, "")) for key in keys]
        rows.append((trial["name"], trial["state"], *bits, *point))
    show("", make_table(("experiment", "state", "val bits", "test bits", *keys), rows), "")
    best = report["best"]
    if best is None:
        reasons = [trial["reason"] for trial in report["trials"] if trial["reason"]]
        show(" ".join(["No trial finished.", *reasons[:1]]))
        return
    show(
        f"Best on val: {best['name']}, {best['val']:.4f} bits per character there and "
        f"{best['test']:.4f} on test. To apply it, with export and registration:\n\n"
        f"  {report['apply']}"
    )
