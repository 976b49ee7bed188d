"""Build the API reference into a folder.

    python docs/reference.py site

The first page is `import tinyllm` as a notebook sees it; the others are the packages of the core,
with their modules.
"""

import sys
import warnings
from pathlib import Path

import pdoc

import tinyllm

MODULES = (
    *("tinyllm", "tinyllm.base", "tinyllm.corpus", "tinyllm.tokens", "tinyllm.model"),
    *("tinyllm.kernels", "tinyllm.training", "tinyllm.inference", "tinyllm.evaluation"),
    "tinyllm.formats",
    # a program that MLflow runs, not a module
    "!tinyllm.formats.pyfunc_model",
)


def main(folder: Path) -> None:
    """Write the pages; what cannot be documented is an error."""
    warnings.filterwarnings("error", module="pdoc")
    for name in tinyllm.__all__:
        # import the names now, since pdoc shows only what exists
        setattr(tinyllm, name, getattr(tinyllm, name))
    pdoc.render.configure(docformat="google", footer_text="tinyllm")
    pdoc.pdoc(*MODULES, output_directory=folder)
    page = (folder / "tinyllm.html").read_text(encoding="utf-8")
    missing = [name for name in tinyllm.__all__ if f'id="{name}"' not in page]
    if missing:
        sys.exit(f"The reference lacks {', '.join(missing)}.")
    print(f"{len(list(folder.rglob('*.html')))} pages in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
