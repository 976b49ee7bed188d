"""A llama.cpp file for each precision, and what Ollama needs to run one."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from tinyllm.formats.config import ExportConfig, Precision
from tinyllm.formats.exporters.exporter import Source

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened

_MODELFILE = "gguf/Modelfile"


class Gguf:
    """See `Exporter`."""

    needs = ("gguf",)
    opened_by = "llama.cpp"
    files = (_MODELFILE, *(f"gguf/model-{precision}.gguf" for precision in get_args(Precision)))
    usage = """\
### llama.cpp and Ollama

```
llama-completion -m gguf/model-f16.gguf -c {window} -no-cnv -p {prompt!r}
llama-server -m gguf/model-f16.gguf -c {window}
ollama create tinyllm -f gguf/Modelfile
```

Stay within {window} characters: llama.cpp's attention does not slide for this architecture, and it
rounds `-c` up to 256. Programs built on it often punish repetition by default, which for single
letters means every text; `repeat_penalty` 1.0, as in the Modelfile, leaves the model as it is. A
run of characters that the model does not know becomes one unknown token there.
"""

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        from tinyllm.formats.gguf import write_gguf, write_modelfile

        (folder / "gguf").mkdir()
        write_gguf(source.checkpoint, folder / "gguf", config)
        window = source.checkpoint.model.config.sequence_length
        write_modelfile(folder / _MODELFILE, config, window)

    def read_back(self, config: ExportConfig, source: Source, folder: Path) -> Iterator["Opened"]:
        """See `Exporter`."""
        import torch

        from tinyllm.formats.gguf_reader import read_model, verify_gguf
        from tinyllm.formats.parity import GREEDY_TOKENS, PROMPT, Opened

        window = source.checkpoint.model.config.sequence_length
        passage = torch.tensor([source.held_out[:window]])
        for precision in config.gguf_precisions:
            path = folder / "gguf" / f"model-{precision}.gguf"
            name = f"gguf/{path.name}"
            # each weight must be the model's, rounded to the precision
            verify_gguf(source.checkpoint, path, precision, passage)
            again = read_model(path, source.checkpoint)
            yield Opened(name, "read-back", precision, again.reader())
            if self.opened_by in config.verify_with:
                from tinyllm.formats.llama import LlamaRuntime

                # llama.cpp's attention does not slide for this architecture
                fits = min(GREEDY_TOKENS, window - PROMPT)
                yield Opened(name, "llama.cpp", precision, LlamaRuntime(path), fits)
