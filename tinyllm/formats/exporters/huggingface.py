"""A Qwen3 model and a fast tokenizer, without code of ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters.exporter import CARD, Source

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened

FOLDER = "huggingface"
# what every program that reads the folder needs, whatever form of the weights it takes
DESCRIPTION = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


class HuggingFace:
    """See `Exporter`."""

    needs: tuple[str, ...] = ()
    opened_by = "transformers"
    files = tuple(f"{FOLDER}/{name}" for name in (CARD, "model.safetensors", *DESCRIPTION))
    usage = """\
### transformers (4.57 and newer)

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{here}")
model = AutoModelForCausalLM.from_pretrained("{here}")
prompts = tokenizer([{prompt!r}, {prompt!r}], padding=True, return_tensors="pt")
texts = model.generate(**prompts, max_new_tokens=200)
print(tokenizer.batch_decode(texts, skip_special_tokens=True))
```

It is a base model: it continues texts, and holds no conversation.
"""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        from tinyllm.formats.huggingface import write_description, write_weights

        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        write_description(source.checkpoint, place)
        write_weights(source.checkpoint, place)

    def read_back(
        self,
        config: ExportConfig,
        source: Source,
        folder: Path,
    ) -> Iterator["Opened"]:
        """See `Exporter`."""
        from tinyllm.formats.parity import Opened

        if self.opened_by in config.verify_with:
            from tinyllm.formats.transformers_reader import TransformersReader

            reader = TransformersReader(folder / FOLDER)
            yield Opened("huggingface", "transformers", "f32", reader)
