"""Reading params.yaml, so that every program that reads it reads the same."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import yaml

from tinyllm.base.errors import ConfigError
from tinyllm.base.files import read_text

_LARGEST = 1_000_000
# YAML 1.1 reads these as numbers and truth values, 1.2, which DVC reads, as others or as text
_AMBIGUOUS_NUMBER = re.compile(r"[-+]?0[0-9_]+(?:[^.eE]*)$|.*:")
_PLAIN_TRUTH = {"true", "false"}


class _Loader(yaml.SafeLoader):
    """Refuses what another reader would read differently."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose keys are all different.

        Raises:
            ConfigError: a key is there twice.
        """
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else str(key)
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise ConfigError(f"line {key.start_mark.line + 1}: {name} is there twice")
            seen.add(name)
        return super().construct_mapping(node, deep)


def _number(loader: _Loader, node: Any) -> Any:
    if _AMBIGUOUS_NUMBER.match(node.value):
        raise ConfigError(
            f"line {node.start_mark.line + 1}: {node.value} is not the same number to every "
            f"program; write it in plain decimal digits, or quote it if it is a text"
        )
    kind = node.tag.rpartition(":")[2]
    return getattr(loader, f"construct_yaml_{kind}")(node)


def _truth(loader: _Loader, node: Any) -> Any:
    if node.value.lower() not in _PLAIN_TRUTH:
        raise ConfigError(
            f"line {node.start_mark.line + 1}: {node.value} is not the same to every program; "
            f"write true or false, or quote it if it is a text"
        )
    return loader.construct_yaml_bool(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)
_Loader.add_constructor("tag:yaml.org,2002:bool", _truth)


def read_params(path: Path) -> dict[Any, Any]:
    """Read the sections of a params.yaml, unchecked.

    Raises:
        ConfigError: the file is missing, is not a YAML mapping, or is ambiguous.
    """
    return parse_yaml(read_text(path, _LARGEST, ConfigError), str(path))


def parse_yaml(text: str, where: str) -> dict[Any, Any]:
    """Like `read_params`, but from text; errors call it `where`.

    Raises:
        ConfigError: the text is not a YAML mapping, or is ambiguous.
    """
    try:
        # whoever gets it may change it
        raw = copy.deepcopy(_parsed(text))
    except ConfigError as error:
        raise ConfigError(f"{where}, {error}.") from None
    # a hostile text makes PyYAML raise anything, an IndexError for `!!int`
    except Exception as error:
        place = " ".join(str(error).split())
        raise ConfigError(f"{where} is not valid YAML: {place}.") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{where} must hold sections such as 'train:', each with parameters.")
    return raw


@functools.lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """What a YAML text means; a command asks for the same one in several places."""
    # a subclass of SafeLoader
    return yaml.load(text, _Loader)  # noqa: S506  # see above
