"""`tinyllm generate`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinyllm.app.prompts import (
    PromptCommand,
    check_prompt,
    fresh_seed,
    read_prompt,
    read_prompts,
    warned_once,
)
from tinyllm.base.command import section_options
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain
from tinyllm.inference.config import SamplingConfig

if TYPE_CHECKING:
    from tinyllm.inference.generate import LanguageModel

_DEFAULTS = {"torch": "models/checkpoint", "onnx": "models/export"}
_LONGEST_NAME = 200


@click.command(cls=PromptCommand)
@click.argument("prompt", required=False)
@click.option(
    "--model",
    help="A checkpoint folder, an export folder, or models:/NAME@ALIAS.  "
    "[default: models/checkpoint, or models/export for onnx]",
)
@click.option("--runtime", type=click.Choice(list(_DEFAULTS)), default="torch", show_default=True)
@click.option(
    "--prompts",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A file of many prompts, - for standard input: one per line, or in a .jsonl file one "
    '{"prompt": ...} per line.',
)
@click.option(
    "--jsonl", is_flag=True, help='Write one {"prompt": ..., "text": ..., "seed": ...} per line.'
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Texts for each prompt, with seeds that count up.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@section_options(SamplingConfig)
def generate(
    prompt: str | None,
    model: str | None,
    runtime: str,
    prompts: Path | None,
    jsonl: bool,
    samples: int,
    batch_size: int,
    sampling: SamplingConfig,
) -> None:
    r"""Write text after PROMPT; without one, after standard input.

    \b
    tinyllm generate "What news, my lord?" --max-new-tokens 200
    tinyllm generate "What news, my lord?" --samples 3
    tinyllm generate --model models:/tinyllm@champion --temperature 0 < scene.txt
    tinyllm generate --prompts openings.txt --jsonl --seed 7 > texts.jsonl
    tinyllm generate --runtime onnx "Enter the duke"

    A text depends on its prompt, the sampling options and the seed, not on the batch. Without
    --seed each call takes a fresh one, and names it on standard error. A prompt may begin with a
    dash; one that looks like an option goes behind two: -- --help
    """
    if prompt is not None and prompts is not None:
        raise click.UsageError("PROMPT and --prompts exclude each other.")
    if prompts is not None:
        texts = read_prompts(prompts)
    else:
        texts = [] if prompt is None else [check_prompt(prompt)]
    loaded = open_model(model or _DEFAULTS[runtime], runtime)
    texts = texts if texts or prompts is not None else [read_prompt()]
    first = _choose_seed(sampling)
    each = [sampling.model_copy(update={"seed": first + number}) for number in range(samples)]
    with warned_once():
        if prompts is None and not jsonl:
            _stream(loaded, texts[0], each)
            return
        for begin in range(0, len(texts), batch_size):
            _write_batch(loaded, texts[begin : begin + batch_size], each, jsonl=jsonl)


def open_model(source: str, runtime: str = "torch") -> "LanguageModel":
    """Open the model that a person names.

    Raises:
        TinyLLMError: there is none, whatever the name.
    """
    from tinyllm.app.tracking.registry import locate_model

    try:
        folder = locate_model(source)
        if runtime == "onnx":
            from tinyllm.formats.load import load_onnx_model

            return load_onnx_model(folder)
        from tinyllm.formats.load import load_model

        return load_model(folder)
    # a name that no file can have: too long, or with a NUL
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        shown = plain(source if len(source) < _LONGEST_NAME else f"{source[:_LONGEST_NAME]}...")
        raise TinyLLMError(f"There is no model at {shown}: {reason}.") from None


def _choose_seed(sampling: SamplingConfig) -> int:
    """The seed that was given, or a fresh one, which is named on standard error."""
    if "seed" in sampling.model_fields_set or sampling.temperature == 0:
        return sampling.seed
    seed = fresh_seed()
    click.echo(f"A fresh seed; the same text again: --seed {seed}", err=True)
    return seed


def _stream(model: "LanguageModel", prompt: str, samples: Sequence[SamplingConfig]) -> None:
    """Write one text after another as they arise, blank lines between them."""
    from tinyllm.app.tables import write_passage
    from tinyllm.inference.generate import stream_text

    for number, sampling in enumerate(samples):
        pieces = stream_text(model, prompt, sampling)
        write_passage("\n" * (number > 0) + prompt)
        for piece in pieces:
            write_passage(piece)
        write_passage("\n")


def _write_batch(
    model: "LanguageModel",
    prompts: list[str],
    samples: Sequence[SamplingConfig],
    *,
    jsonl: bool,
) -> None:
    from tinyllm.app.tables import write_passage
    from tinyllm.inference.generate import generate_texts

    found = [generate_texts(model, prompts, sampling) for sampling in samples]
    for place, prompt in enumerate(prompts):
        for texts, sampling in zip(found, samples, strict=True):
            row = {"prompt": prompt, "text": texts[place], "seed": sampling.seed}
            line = json.dumps(row, ensure_ascii=False) if jsonl else f"{texts[place]}\n"
            write_passage(f"{line}\n")
