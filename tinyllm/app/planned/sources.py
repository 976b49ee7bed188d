"""What a plan starts from: the tokens of a text or of a project, and its other parameters."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyllm.app.params import SECTIONS, load_params
from tinyllm.base.errors import ConfigError
from tinyllm.base.section import Section


@dataclass(frozen=True)
class Source:
    """Where the parameters come from.

    Attributes:
        base: a params.yaml, if there is one.
        sections: of it, or the defaults.
        own: sections that the command was given values for.
        foreign: whether the text is another than that of the params.yaml.
    """

    base: Path | None
    sections: Mapping[str, Any]
    own: Mapping[str, Section]
    foreign: bool

    @classmethod
    def of(cls, params: Path | None, text: str | None, pattern: str | None) -> "Source":
        """Read a params.yaml, and let a text and a pattern take the place of those in it.

        Raises:
            ConfigError: a file that is named is not there, or one cannot be used.
        """
        base: Path | None = params or Path("params.yaml")
        if base is not None and not base.is_file():
            if params is not None:
                raise ConfigError(f"There is no file {params}.")
            base = None
        sections: dict[str, Any] = (
            load_params(base) if base else {n: s() for n, s in SECTIONS.items()}
        )
        given = {"source": text, "pattern": pattern}
        given = {key: value for key, value in given.items() if value is not None}
        own: dict[str, Section] = {}
        foreign = text not in (None, sections["prepare"].source)
        if given:
            prepare = sections["prepare"].model_dump() | given
            own["prepare"] = sections["prepare"] = SECTIONS["prepare"].parse(prepare)
        return cls(base, sections, own, foreign)


@contextlib.contextmanager
def tokens_of(source: Source, tokens: Path | None) -> Iterator[Path]:
    """The folder of tokens that is named, or a temporary one of the text, as the stages write it.

    Raises:
        TinyLLMError: the text cannot be read, or has too little for its splits.
    """
    if tokens is not None:
        yield tokens
        return
    from tinyllm.corpus.prepare import prepare_corpus
    from tinyllm.tokens.encode import tokenize_corpus

    sections = source.sections
    with tempfile.TemporaryDirectory(prefix="tinyllm-plan-") as place:
        prepared, folder = Path(place) / "prepared", Path(place) / "tokens"
        prepare_corpus(sections["prepare"], prepared, runtime=sections["runtime"])
        tokenize_corpus(sections["tokenize"], prepared, folder, sections["runtime"])
        yield folder
