"""The report's Markdown, from two revisions of the repository."""

import html
import subprocess
import sys
from collections.abc import Sequence

from tinyllm.app.experiments.noise import judge_change
from tinyllm.app.reporting.curves import draw_chart
from tinyllm.app.reporting.revision import LOSS, Revision
from tinyllm.app.verification.verify import Verification
from tinyllm.base.environment import child_environment
from tinyllm.base.outs import OutFile

_TITLE = "## Model report against"
REPORT = OutFile("tinyllm report", _TITLE.encode())
_LINES = 14


def write_report(
    base: Revision,
    head: Revision,
    verification: Verification | None = None,
    repeats: Sequence[float] = (),
) -> str:
    """The report: verdicts, metrics, parameters, curves and samples.

    Args:
        base: what the change is compared with.
        head: the working tree.
        verification: the result of `verify`, if it was called.
        repeats: test losses of the base trained with other seeds.
    """
    parts = [
        f"{_TITLE} `{base.commit[:10]}`",
        _judge(base, head, repeats),
        _reproduced(verification),
        f"### Metrics\n\n{_difference(base, 'metrics')}",
        f"### Parameters\n\n{_difference(base, 'params')}",
        f"### Curves\n\n{draw_chart(base.history(), head.history()) or 'No history.'}",
        f"### Samples\n\n{_samples(base.samples(), head.samples())}",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _judge(base: Revision, head: Revision, repeats: Sequence[float]) -> str:
    one, other = base.metrics(), head.metrics()
    if LOSS not in one or LOSS not in other:
        return "**The base has no metrics to compare with.**"
    if one.get("fingerprint") != other.get("fingerprint"):
        return "**The two were tested on different texts, so their losses cannot be compared.**"
    if one == other:
        return "**No figure of the evaluation changed.**"
    positions = (base.positions(), head.positions())
    return f"**{judge_change(one[LOSS], other[LOSS], repeats, positions)}**"


def _reproduced(verification: Verification | None) -> str:
    if verification is None:
        return ""
    cpu = verification.environment.get("cpu", "this CPU")
    if verification.drifted and verification.reproduced:
        figures = "\n".join(f"- {figure}" for figure in verification.figures)
        return f"Reproduced statistically on {cpu}, as fast arithmetic can be:\n\n{figures}"
    if verification.reproduced:
        return f"Reproduced: all {verification.outs} outs of dvc.lock came out the same on {cpu}."
    found = [*verification.changed, *verification.differences, *map(str, verification.figures)]
    if verification.first_step is not None:
        found.append(f"training differs from step {verification.first_step} on")
    lines = "\n".join(f"- {line}" for line in found)
    return f"**NOT reproduced** on {cpu}, {verification.outs} outs compared:\n\n{lines}"


def _difference(base: Revision, what: str) -> str:
    result = subprocess.run(  # noqa: S603 - fixed arguments
        [sys.executable, "-m", "dvc", what, "diff", "--md", base.commit],
        cwd=base.root,
        env=child_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode:
        return f"None to compare with at `{base.commit[:10]}`."
    table = result.stdout.strip()
    # without a difference DVC prints only the table's header
    return table if len(table.splitlines()) > 2 else "No difference."


def _samples(base: str, head: str) -> str:
    if not base and not head:
        return "No samples here or at the base."
    cells = "".join(f"<td><pre>{_cell(text)}</pre></td>" for text in (base, head))
    return f"<table><tr><th>base</th><th>this change</th></tr><tr>{cells}</tr></table>"


def _cell(text: str) -> str:
    if not text:
        return "(neither in DVC's cache nor in its remote)"
    # an empty line would end the table in Markdown
    return html.escape("\n".join(text.splitlines()[:_LINES])).replace("\n", "<br>")
