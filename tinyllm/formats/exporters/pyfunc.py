"""An MLflow model for the registry; it includes the Hugging Face folder with its graphs."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tinyllm.formats.closure import import_closure
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters.exporter import CARD, PARITY, Source
from tinyllm.formats.exporters.huggingface import HuggingFace
from tinyllm.formats.exporters.onnx import Onnx

if TYPE_CHECKING:
    from tinyllm.formats.parity import Opened

# modules that models served by earlier versions include
_EARLIER_CODE = (
    *(f"config/{name}.py" for name in ("__init__", "base", "sampling")),
    *(f"{name}.py" for name in ("errors", "files", "logger", "redaction")),
    *(f"export/{name}.py" for name in ("__init__", "pyfunc_model")),
    *(f"inference/{name}.py" for name in ("__init__", "generate", "onnx", "sampling")),
    *(f"tokenization/{name}.py" for name in ("__init__", "huggingface", "tokenizer")),
)


_NAMES = (
    "MLmodel",
    "conda.yaml",
    "input_example.json",
    "python_env.yaml",
    "pyfunc_model.py",
    "requirements.txt",
    "serving_input_example.json",
    PARITY,
    CARD,
)


class Pyfunc:
    """See `Exporter`."""

    needs = ("mlflow", "onnx", "onnxruntime")
    opened_by = None
    usage = """\
### MLflow

```
mlflow models serve -m pyfunc --env-manager local --port 8080
curl localhost:8080/invocations -H 'Content-Type: application/json' \\
  -d '{{"dataframe_records": [{{"prompt": {quoted}}}], "params": {{"seed": 1}}}}'
```
"""

    @functools.cached_property
    def files(self) -> tuple[str, ...]:
        """See `Exporter`; not known before the project's code has been parsed."""
        code = [
            *(path.as_posix() for path in import_closure("tinyllm.formats.pyfunc_model")),
            *(f"tinyllm/{path}" for path in _EARLIER_CODE),
        ]
        folders = {path.rpartition("/")[0] for path in code}
        names = (
            *_NAMES,
            *[f"code/{path}" for path in code],
            # Python compiles the code when somebody opens the model
            "__pycache__/*.pyc",
            *[f"code/{path}/__pycache__/*.pyc" for path in sorted(folders)],
            *[f"artifacts/{path}" for path in {*HuggingFace.files, *Onnx.files}],
        )
        return tuple(f"pyfunc/{name}" for name in names)

    def write(self, config: ExportConfig, source: Source, folder: Path) -> None:
        """See `Exporter`."""
        from tinyllm.formats.pyfunc import write_pyfunc

        with tempfile.TemporaryDirectory() as staging:
            for form in (HuggingFace(), Onnx()):
                form.write(config, source, Path(staging))
            write_pyfunc(source.checkpoint, Path(staging), folder / "pyfunc")

    def read_back(
        self,
        config: ExportConfig,
        source: Source,
        folder: Path,
    ) -> Iterator["Opened"]:
        """See `Exporter`."""
        from tinyllm.formats.parity import Opened
        from tinyllm.formats.pyfunc import open_pyfunc

        yield Opened("pyfunc", "mlflow", "f32", open_pyfunc(folder / "pyfunc"))
