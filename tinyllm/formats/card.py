"""The model card: what the model is, how good, how it was checked, and how to run it.

Everything in it follows from the model and its reports; the registry has commit, date and author.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinyllm.base.files import write_text
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.parity import Verdict
from tinyllm.inference.checkpoint import Checkpoint

_TRANSFORMERS = """\
### transformers (4.57 and newer)

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("huggingface")
model = AutoModelForCausalLM.from_pretrained("huggingface")
prompt = tokenizer({prompt!r}, return_tensors="pt")
print(tokenizer.decode(model.generate(**prompt, do_sample=True, max_new_tokens=200)[0]))
```
"""
_ONNX = """\
### ONNX Runtime

`tinyllm generate --runtime onnx --model . {prompt!r}`, or from any language: `onnx/model.onnx`
takes `input_ids` and `position_ids` [batch, sequence] and `past_keys`, `past_values` [layers,
batch, heads, past, head size] (past 0 at the beginning) and gives `logits`, `present_keys` and
`present_values`. `onnx/tokenizer.json` is a Hugging Face tokenizer.
"""
_GGUF = """\
### llama.cpp

```
llama-completion -m gguf/model-f16.gguf -c {window} -no-cnv -p {prompt!r}
```

Stay within {window} characters: llama.cpp's attention does not slide for this architecture. A run
of characters that the model does not know becomes one unknown token there.
"""
_PYFUNC = """\
### MLflow

```
mlflow models serve -m pyfunc --env-manager local --port 8080
curl localhost:8080/invocations -H 'Content-Type: application/json' \\
  -d '{{"dataframe_records": [{{"prompt": {quoted}}}], "params": {{"seed": 1}}}}'
```
"""
_PLAYGROUND = """\
### A browser

Open `playground.html`: the model runs in the page, without a network or a server.
"""


def write_card(
    path: Path,
    config: ExportConfig,
    checkpoint: Checkpoint,
    metrics: dict[str, Any],
    verdicts: Sequence[Verdict],
) -> None:
    """Write the card as Markdown.

    Args:
        path: the file to write.
        config: which formats were written.
        checkpoint: the model.
        metrics: of the evaluate stage; may be empty.
        verdicts: of other programs on the exports.
    """
    parts = [
        "# A character-level language model\n",
        _about(checkpoint),
        _training(checkpoint),
        _figures(metrics),
        _parity(verdicts),
        "## How to run it\n",
        *_how_to_run(config, checkpoint),
        _limits(checkpoint),
    ]
    write_text(path, "\n".join(part for part in parts if part))


def _about(checkpoint: Checkpoint) -> str:
    config, model = checkpoint.model.config, checkpoint.model
    rows = {
        "architecture": "Qwen3 (decoder only, RMSNorm, rotary embedding, SwiGLU)",
        "parameters": f"{model.num_parameters():,}",
        "layers, width, heads": f"{config.num_layers}, {config.d_model}, {config.num_heads}",
        "feed-forward width": config.d_ff,
        "context window": f"{config.sequence_length} characters",
        "alphabet": f"{checkpoint.tokenizer.vocab_size - 1} characters and one for all others",
    }
    return _table(("", ""), list(rows.items()))


def _training(checkpoint: Checkpoint) -> str:
    rows = list(_flat(checkpoint.training))
    return f"## How it was trained\n\n{_table(('', ''), rows)}" if rows else ""


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _figures(metrics: dict[str, Any]) -> str:
    if not metrics:
        return ""
    numbers = [(key.replace("_", " "), value) for key, value in metrics.items()]
    return (
        f"## How good it is\n\nOn text that it was not trained on:\n\n{_table(('', ''), numbers)}"
    )


def _parity(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    rows = [
        (
            verdict.export,
            verdict.runtime,
            f"{facts['logits']} (at most {facts['tolerance']:g} apart)",
            f"{facts['greedy_text']} ({facts['greedy_characters']} characters)",
        )
        for verdict in verdicts
        for facts in [verdict.facts()]
    ]
    table = _table(("export", "opened in", "logits", "likeliest text"), rows)
    return f"## How the exports were checked\n\nAgainst the model itself:\n\n{table}"


def _how_to_run(config: ExportConfig, checkpoint: Checkpoint) -> list[str]:
    texts = {
        "huggingface": _TRANSFORMERS,
        "onnx": _ONNX,
        "gguf": _GGUF,
        "pyfunc": _PYFUNC,
        "playground": _PLAYGROUND,
    }
    prompt = "".join(char for char in checkpoint.tokenizer.alphabet if char.isalpha())[:3] or "a"
    window = checkpoint.model.config.sequence_length
    return [
        text.format(prompt=prompt, quoted=f'"{prompt}"', window=window)
        for form, text in texts.items()
        if form in config.formats
    ]


def _limits(checkpoint: Checkpoint) -> str:
    window = checkpoint.model.config.sequence_length
    alphabet = "".join(char for char in checkpoint.tokenizer.alphabet if char.isprintable())
    return f"""\
## Limits

- It writes in the manner of the text that it was trained on, and knows nothing else.
- It sees {window} characters at a time; what lies further back only shows through those.
- It knows these characters, and reads every other one as unknown; it never writes that:
  ``{alphabet}``
- Nothing was done to keep it from repeating what its training text says.
"""


def _table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
