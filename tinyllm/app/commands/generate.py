"""`tinyllm generate`."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllm.base.command import Command, section_options
from tinyllm.base.errors import TinyLLMError
from tinyllm.inference.config import SamplingConfig

if TYPE_CHECKING:
    from tinyllm.inference.generate import LanguageModel

_DEFAULTS = {"torch": "models/checkpoint", "onnx": "models/export"}


@click.command(cls=Command)
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
@click.option("--jsonl", is_flag=True, help='Write one {"prompt": ..., "text": ...} per line.')
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True)
@section_options(SamplingConfig)
def generate(
    prompt: str | None,
    model: str | None,
    runtime: str,
    prompts: Path | None,
    jsonl: bool,
    batch_size: int,
    sampling: SamplingConfig,
) -> None:
    r"""Write text after PROMPT; without one, after standard input.

    \b
    tinyllm generate "What news, my lord?" --max-new-tokens 200
    tinyllm generate --model models:/tinyllm@champion --temperature 0 < scene.txt
    tinyllm generate --prompts openings.txt --jsonl --seed 7 > texts.jsonl
    tinyllm generate --runtime onnx "Enter the duke"

    A text depends on its prompt, the sampling options and the seed, not on the batch.
    """
    if prompt is not None and prompts is not None:
        raise click.UsageError("PROMPT and --prompts exclude each other.")
    given = [prompt] if prompts is None else list(_read_prompts(prompts))
    loaded = _open_model(model or _DEFAULTS[runtime], runtime)
    texts = [sys.stdin.read() if text is None else text for text in given]
    if prompts is None and not jsonl:
        _stream(loaded, texts[0], sampling)
    else:
        _write_all(loaded, texts, sampling, jsonl=jsonl, batch_size=batch_size)


def _open_model(source: str, runtime: str) -> "LanguageModel":
    from tinyllm.app.tracking.registry import locate_model

    if runtime == "onnx":
        from tinyllm.formats.load import load_onnx_model

        return load_onnx_model(locate_model(source))
    from tinyllm.formats.load import load_model

    return load_model(locate_model(source))


def _read_prompts(path: Path) -> Iterator[str]:
    with click.open_file(str(path), encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            text = line.rstrip("\n")
            yield _prompt_of(text, f"{path}, line {number}") if path.suffix == ".jsonl" else text


def _prompt_of(line: str, place: str) -> str:
    try:
        found: Any = json.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, str):
        raise TinyLLMError(f'{place}: expected an object such as {{"prompt": "What news"}}.')
    return found


def _stream(model: "LanguageModel", prompt: str, sampling: SamplingConfig) -> None:
    from tinyllm.inference.generate import stream_text

    sys.stdout.write(prompt)
    for character in stream_text(model, prompt, sampling):
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _write_all(
    model: "LanguageModel",
    prompts: list[str],
    sampling: SamplingConfig,
    *,
    jsonl: bool,
    batch_size: int,
) -> None:
    from tinyllm.inference.generate import generate_texts

    for first in range(0, len(prompts), batch_size):
        batch = prompts[first : first + batch_size]
        for prompt, text in zip(batch, generate_texts(model, batch, sampling), strict=True):
            line = json.dumps({"prompt": prompt, "text": text}, ensure_ascii=False)
            click.echo(line if jsonl else text + "\n")
