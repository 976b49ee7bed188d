"""The model card: what the model is, how good, how it was checked, and how to run it.

Everything in it follows from the model and its reports; the registry has commit, date and author.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters import EXPORTERS, Source
from tinyllm.formats.exporters.huggingface import FOLDER
from tinyllm.formats.tokenizer_json import special_token
from tinyllm.formats.wording import example_prompt, known_characters, level, list_tokens

if TYPE_CHECKING:
    from tinyllm.formats.parity import Verdict
    from tinyllm.inference.checkpoint import Checkpoint

# what lies in the folder for the Hub
_ON_HUB = ("huggingface", "onnx")
# of the figures, what the Hub shows
_SHOWN = {
    "bits_per_character": "Bits per character",
    "bits_per_byte": "Bits per byte",
    "perplexity": "Perplexity",
    "top1_accuracy": "Next {unit} right",
}


@dataclass(frozen=True)
class Card:
    """The card of a model.

    Attributes:
        config: which formats were written, and whose model it is.
        source: the model, and its metrics, which may be empty.
        verdicts: of other programs on the exports.
    """

    config: ExportConfig
    source: Source
    verdicts: "Sequence[Verdict]"

    def text(self) -> str:
        """For the folder of all formats."""
        return self._text(self.config.formats, FOLDER)

    def text_for_hub(self) -> str:
        """For the folder that goes to the Hub: with metadata, and what lies there.

        See https://huggingface.co/docs/hub/model-cards.
        """
        formats = [name for name in self.config.formats if name in _ON_HUB]
        facts = yaml.safe_dump(self._metadata(), sort_keys=False, allow_unicode=True)
        return f"---\n{facts}---\n\n{self._text(formats or _ON_HUB, '.')}"

    def _text(self, formats: Sequence[str], here: str) -> str:
        checkpoint = self.source.checkpoint
        parts = [
            f"# A {level(checkpoint.tokenizer)} language model\n",
            self._about(),
            _training(checkpoint),
            _figures(self.source.metrics),
            _parity(self.verdicts),
            "## How to run it\n",
            *self._usage(formats, here),
            _limits(checkpoint),
        ]
        return "\n".join(part for part in parts if part)

    def _metadata(self) -> dict[str, Any]:
        config = self.config
        facts: dict[str, Any] = {}
        if config.license:
            facts["license"] = config.license
        if config.languages:
            facts["language"] = list(config.languages)
        facts |= {"library_name": "transformers", "pipeline_tag": "text-generation"}
        facts["tags"] = [level(self.source.checkpoint.tokenizer), "qwen3"]
        if "onnx" in config.formats:
            facts["tags"].append("onnx")
        if results := self._results():
            facts["model-index"] = [{"name": config.model_name, "results": results}]
        return facts

    def _results(self) -> list[dict[str, Any]]:
        """The figures as the Hub reads them."""
        metrics, unit = self.source.metrics, self.source.checkpoint.tokenizer.unit
        figures = [
            {"type": key, "name": name.format(unit=unit), "value": metrics[key]}
            for key, name in _SHOWN.items()
            if key in metrics
        ]
        if not figures:
            return []
        split = metrics.get("split", "test")
        text = {"type": "text", "name": f"held-out text ({split})", "split": split}
        if "fingerprint" in metrics:
            text["revision"] = metrics["fingerprint"]
        task = {"type": "text-generation", "name": "Text generation"}
        return [{"task": task, "dataset": text, "metrics": figures}]

    def _about(self) -> str:
        checkpoint = self.source.checkpoint
        config, model = checkpoint.model.config, checkpoint.model
        rows = {
            "name": self.config.model_name,
            "author": self.config.author,
            "licence": self.config.license,
            "languages": ", ".join(self.config.languages),
            "architecture": "Qwen3 (decoder only, RMSNorm, rotary embedding, SwiGLU)",
            "parameters": f"{model.num_parameters():,}",
            "layers, width, heads": f"{config.num_layers}, {config.d_model}, {config.num_heads}",
            "feed-forward width": config.d_ff,
            "context window": f"{config.sequence_length} {checkpoint.tokenizer.unit}s",
            "tokens": list_tokens(checkpoint.tokenizer),
        }
        return _table(("", ""), [(name, fact) for name, fact in rows.items() if fact])

    def _usage(self, formats: Sequence[str], here: str) -> list[str]:
        checkpoint = self.source.checkpoint
        prompt = example_prompt(checkpoint.tokenizer)
        window = checkpoint.model.config.sequence_length
        facts = {"prompt": prompt, "quoted": f'"{prompt}"', "window": window, "here": here}
        facts["name"] = self.config.model_name
        _, facts["special"] = special_token(checkpoint.tokenizer)
        return [form.usage.format(**facts) for name, form in EXPORTERS.items() if name in formats]


def _training(checkpoint: "Checkpoint") -> str:
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


def _parity(verdicts: "Sequence[Verdict]") -> str:
    if not verdicts:
        return ""
    rows = [
        (
            verdict.export,
            verdict.runtime,
            f"{facts['logits']} (at most {facts['tolerance']:g} apart)",
            f"{facts['greedy_text']} ({facts['greedy_tokens']} tokens)",
        )
        for verdict in verdicts
        for facts in [verdict.facts()]
    ]
    table = _table(("export", "opened in", "logits", "likeliest text"), rows)
    return f"## How the exports were checked\n\nAgainst the model itself:\n\n{table}"


def _limits(checkpoint: "Checkpoint") -> str:
    window, unit = checkpoint.model.config.sequence_length, checkpoint.tokenizer.unit
    return f"""\
## Limits

- It writes in the manner of the text that it was trained on, and knows nothing else.
- It sees {window} {unit}s at a time; what lies further back only shows through those.
- {known_characters(checkpoint.tokenizer)}
- Nothing was done to keep it from repeating what its training text says.
"""


def _table(head: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)
