"""Two graphs, of float32 and of 8-bit weights, in the places where Hub programs look for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters.exporter import CARD, Source
from tinyllm.formats.exporters.huggingface import DESCRIPTION, FOLDER

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened


class Onnx:
    """See `Exporter`."""

    needs = ("onnx",)
    opened_by = "onnxruntime"
    # by these names transformers.js finds its types "fp32" and "q8"
    graphs = ("onnx/model.onnx", "onnx/model_quantized.onnx")
    # earlier versions had a folder of their own
    files = (
        *[f"{FOLDER}/{name}" for name in (CARD, *DESCRIPTION, *graphs)],
        *[f"onnx/{name}" for name in ("model.onnx", "tokenizer.json")],
    )
    usage = """\
### ONNX Runtime, Optimum and transformers.js

```python
from optimum.onnxruntime import ORTModelForCausalLM

model = ORTModelForCausalLM.from_pretrained("{here}", file_name="onnx/model.onnx")
```

In Node or a browser, with the folder as `{name}` on the Hub or below `env.localModelPath`:

```js
const write = await pipeline("text-generation", "{name}", {{ dtype: "fp32" }})
await write({quoted}, {{ max_new_tokens: 200 }})
```

`dtype: "q8"` takes `onnx/model_quantized.onnx`, whose weights have 8 bits. To quantise otherwise
with ONNX Runtime's own tool, give it `op_types_to_quantize=["MatMul"]`: with its defaults it takes
the graph's attention for an operator of its own.

From any language: the graph takes `input_ids`, `attention_mask`, `position_ids` and, for each
layer, `past_key_values.0.key` and `.value` [batch, heads, past, head size] (past 0 at the
beginning), and gives `logits`, `present.0.key` and `.value`. `tokenizer.json` is a Hugging Face
tokenizer; programs that read nothing else take "{special}" in a text for a special token.
"""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        from tinyllm.formats.huggingface import write_description
        from tinyllm.formats.onnx_graph import write_onnx

        place = folder / FOLDER
        place.mkdir(exist_ok=True)
        write_description(source.checkpoint, place)
        (place / "onnx").mkdir()
        for graph, bits in zip(self.graphs, (32, 8), strict=True):
            write_onnx(source.checkpoint.model, place / graph, bits)

    def read_back(
        self,
        config: ExportConfig,
        source: Source,
        folder: Path,
    ) -> Iterator["Opened"]:
        """See `Exporter`."""
        from tinyllm.formats.parity import Opened

        if self.opened_by in config.verify_with:
            from tinyllm.formats.onnx_model import load_onnx

            for graph, precision in zip(self.graphs, ("f32", "int8"), strict=True):
                reader = load_onnx(folder / FOLDER, graph).reader()
                yield Opened(graph, "onnxruntime", precision, reader)
