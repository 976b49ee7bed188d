"""The project's files that a module needs, found by parsing imports, not by running them.

Outs depend on code as on data: the closure is what `dvc.yaml` has to watch, and what an exported
model includes.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("tinyllm", "stages")


def import_closure(*modules: str) -> list[Path]:
    """Files of the given modules and of all project modules that they import, directly or not.

    Imports inside functions count, as do those inside `if TYPE_CHECKING:`, which can only make the
    closure larger. So does the `__init__.py` of every package on the way.

    Returns:
        Paths relative to the project's root, sorted.

    Raises:
        ModuleNotFoundError: one of the given modules does not exist.
    """
    for name in modules:
        if _find(name) is None:
            raise ModuleNotFoundError(f"no module named {name!r} in this project")
    waiting, found = list(modules), set()
    while waiting:
        name = waiting.pop()
        path = _find(name)
        if path is None or path in found:
            continue
        found.add(path)
        package, _, _ = name.rpartition(".")
        if package:
            waiting.append(package)
        waiting.extend(_imported(path))
    return sorted(path.relative_to(ROOT) for path in found)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            # for `from package import module`
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _find(name: str) -> Path | None:
    if name.partition(".")[0] not in _PACKAGES:
        return None
    path = ROOT.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None
