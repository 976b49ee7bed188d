"""`tinyllm plan`."""

import hashlib
import json
import math
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllm.base.command import FOLDER, WorkCommand
from tinyllm.base.errors import ConfigError

if TYPE_CHECKING:
    from tinyllm.app.planned.sources import Source
    from tinyllm.kernels.config import NumericsConfig
    from tinyllm.planning.plans import Plan

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=WorkCommand)
@click.argument("text", required=False)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    help="Budget: wall time of the train stage.",
)
@click.option(
    "--loss",
    type=click.FloatRange(0, min_open=True),
    help="Goal: a validation loss, in nats per token.",
)
@click.option("--tokens", type=FOLDER, help="Folder of a tokenize stage, instead of a text.")
@click.option("--pattern", help="Which files of a folder to take.  [default: as in params.yaml]")
@click.option(
    "--params", type=_FILE, help="File whose other sections to keep.  [default: params.yaml]"
)
@click.option("--out", type=_FILE, default="params.yaml", show_default=True, help="File to write.")
@click.option(
    "--replace", is_flag=True, help="Replace --out even if 'tinyllm plan' did not write it."
)
@click.option(
    "--mode",
    type=click.Choice(["portable", "fast"]),
    help="Arithmetic.  [default: as in params.yaml]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Of the run.  [default: as many as are quickest here]",
)
@click.option(
    "--find-rates/--no-find-rates",
    default=True,
    show_default=True,
    help="Try learning rates and batches in short runs, for a tenth of the budget.",
)
@click.option(
    "--reports",
    type=FOLDER,
    default="reports/plan",
    show_default=True,
    help="Folder for the picture and the figures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON, for programs.")
def plan(
    text: str | None,
    minutes: float | None,
    loss: float | None,
    tokens: Path | None,
    pattern: str | None,
    params: Path | None,
    out: Path,
    mode: str | None,
    threads: int | None,
    reports: Path,
    *,
    replace: bool,
    find_rates: bool,
    as_json: bool,
) -> None:
    r"""Choose model, context, batch, rates, regularization and steps, and write a params.yaml.

    \b
    tinyllm plan mine.txt --minutes 10         the lowest loss in ten minutes
    tinyllm plan mine.txt --loss 1.6           the shortest run that ends at 1.6
    tinyllm plan --tokens data/tokens --minutes 30 --mode fast --out long.yaml

    TEXT is a file or a folder, read as the prepare stage reads it, by default the one in
    params.yaml. The budget is the wall time of the train stage on this machine, from its start to
    its end. Planning itself takes about half a minute and a tenth of the budget more: it measures
    steps of several shapes, tries learning rates in short runs, and chooses what the scaling rules
    expect the lowest loss of. They were fitted to the measured runs in benchmarks/scaling.

    The file names every parameter, so the run can be repeated; comments say what each other choice
    would cost. Sections that are not planned (prepare, tokenize, evaluate, export ...) stay as
    they are in params.yaml; for another text than that one's, its prompts become beginnings of
    lines of the text, and licence and languages are left empty. Then 'dvc repro' runs it.
    """
    from tinyllm.app.planned.sources import Source, tokens_of
    from tinyllm.base.outs import check_places
    from tinyllm.planning.report import REPORT

    if (minutes is None) == (loss is None):
        raise ConfigError("Give either --minutes or --loss: a budget, or a goal.")
    if not math.isfinite(minutes or loss or 0.0):
        raise ConfigError("--minutes and --loss must be finite numbers.")
    if tokens is not None and text is not None:
        raise ConfigError("Give either a text or --tokens: one of both is planned for.")
    source = Source.of(params, text, pattern)
    _check_out(out, replace=replace)
    places: dict[str, Any] = {"--reports": (reports, REPORT)}
    check_places(places, {"--tokens": tokens} if tokens else {})
    # as Ctrl-C, so that nothing is left behind
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tokens_of(source, tokens) as folder:
        seconds = None if minutes is None else 60 * minutes
        numerics = _numerics(source, mode, threads)
        find = {"find_rates": find_rates, "find_threads": threads is None}
        found = _make(source, folder, {"seconds": seconds, "loss": loss, **find}, numerics)
        _write(found, source, folder, (out, reports), as_json=as_json)


def _check_out(out: Path, *, replace: bool) -> None:
    from tinyllm.app.planned.params import PLANNED
    from tinyllm.base.outs import OutFile, check_places

    anything = OutFile("tinyllm plan", b"")
    try:
        check_places({"--out": (out, anything if replace else PLANNED)})
    except ConfigError as error:
        hint = "" if replace or "was not written" not in str(error) else ", or give --replace"
        raise ConfigError(f"{str(error).removesuffix('.')}{hint}.") from None


def _numerics(source: "Source", mode: str | None, threads: int | None) -> "NumericsConfig":
    from tinyllm.base.cores import usable_cores
    from tinyllm.kernels.machine import possible_here

    base = source.sections["numerics"]
    values = {**base.model_dump(), "threads": threads or usable_cores(), "processes": 1}
    if mode is not None:
        values["mode"] = mode
    return possible_here(type(base).parse(values))


def _make(
    source: "Source", folder: Path, wanted: dict[str, Any], numerics: "NumericsConfig"
) -> "Plan":
    from tinyllm.app.preflight import memory_limit
    from tinyllm.kernels.numerics import setup_numerics
    from tinyllm.tokens.meta import read_meta

    arithmetic = setup_numerics(numerics)
    # torch is imported from here on, after the environment is set
    from tinyllm.planning.measuring import Limits
    from tinyllm.planning.plan import make_plan
    from tinyllm.planning.plans import Wish

    splits, sections = read_meta(folder).splits, source.sections
    used = {"val", sections["evaluate"].split}
    shortest = min(getattr(splits, name).tokens for name in used)
    wish = Wish(**wanted, seed=sections["train"].seed)
    limits = Limits(context=shortest - 1, memory=memory_limit())
    say = lambda line: click.echo(line, err=True)  # noqa: E731 - shorter than a function
    return make_plan(folder, wish, numerics, arithmetic, limits, say)


def _write(
    found: "Plan", source: "Source", folder: Path, places: tuple[Path, Path], *, as_json: bool
) -> None:
    from tinyllm.app.planned.foreign import sections_for
    from tinyllm.app.planned.params import write_plan
    from tinyllm.app.planned.reasons import expectations, reasons_for
    from tinyllm.app.planned.record import record_plan, report_of
    from tinyllm.app.planned.table import show_plan
    from tinyllm.base.files import write_text
    from tinyllm.planning.report import write_report
    from tinyllm.tokens.meta import read_meta

    out, reports = places
    head = expectations(found, read_meta(folder))
    own = {**source.own, **(sections_for(folder, source.sections) if source.foreign else {})}
    text = write_plan(found, reasons_for(found), head, source.base, own)
    report = report_of(found)
    write_report(reports, found, report)
    write_text(out, text)
    identity = hashlib.sha256(json.dumps(report, sort_keys=True).encode()).hexdigest()[:32]
    record_plan(found, identity, source.sections["tracking"], reports, "\n\n".join(head))
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        show_plan(found, head, out, reports)
