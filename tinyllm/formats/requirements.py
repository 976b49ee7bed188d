"""The packages needed to write or verify an export, and what to do without them."""

import logging
from collections.abc import Mapping
from importlib import metadata

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.exporters import EXPORTERS

_log = logging.getLogger(__name__)

# the packages of each format and of each runtime
_WRITERS = {name: form.needs for name, form in EXPORTERS.items()}
_RUNTIMES = {
    "transformers": ("transformers",),
    "onnxruntime": ("onnxruntime",),
    "llama.cpp": ("llama-cpp-python",),
}
_EXTRAS = {"llama-cpp-python": "llama", "mlflow": "pipeline"}


def what_is_possible(config: ExportConfig) -> ExportConfig:
    """The configuration without what is not installed here.

    Raises:
        TinyLLMError: something is not installed, and `skip_missing` is off.
    """
    formats = [name for name in config.formats if not _is_missing(config, name, _WRITERS)]
    runtimes = [
        name
        for name in config.verify_with
        if not any(EXPORTERS[form].opened_by == name for form in formats)
        or not _is_missing(config, name, _RUNTIMES)
    ]
    return config.model_copy(update={"formats": formats, "verify_with": runtimes})


def _is_missing(config: ExportConfig, name: str, needs: Mapping[str, tuple[str, ...]]) -> bool:
    missing = [package for package in needs.get(name, ()) if not _is_installed(package)]
    if not missing:
        return False
    extra = _EXTRAS.get(missing[0], "export")
    action = "written" if needs is _WRITERS else "verified with"
    if config.skip_missing:
        _log.warning("%s is not installed: nothing is %s %s.", missing[0], action, name)
        return True
    key = "formats" if needs is _WRITERS else "verify_with"
    raise TinyLLMError(
        f"export.{key} holds {name}, which needs {missing[0]}, and that is not installed; "
        f"pip install 'tinyllm[{extra}]', take {name} out, or set export.skip_missing to true."
    )


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
