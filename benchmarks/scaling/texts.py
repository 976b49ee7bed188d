"""Texts for measuring: what Debian and Python bring along, cut to a size, in a fixed order."""

import bz2
import gzip
import lzma
import random
import re
import sysconfig
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_ROFF = re.compile(r"^[.'].*$|\\f[A-Z]|\\-|\\&|\\\(..|\\[e|]", re.MULTILINE)
_OPEN = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass(frozen=True)
class Text:
    """Files of a kind, as much of them as is wanted; none of Debian's on other systems."""

    files: str
    encoding: str = "utf-8"
    clean: Callable[[str], str] = lambda text: text

    def read(self, characters: int) -> str:
        """At most so many characters, from files in an order that a seed draws."""
        place, _, pattern = self.files.partition("//")
        # links of Debian's would repeat a file
        found = sorted({path.resolve() for path in Path(place).glob(pattern) if path.is_file()})
        random.Random(0).shuffle(found)
        parts, length = [], 0
        for path in found:
            part = self.clean(self._read(path)).strip()
            if length >= characters:
                break
            # a part of each, so that a long one is not the whole text
            parts.append(part[: characters // min(8, len(found))])
            length += len(parts[-1])
        return "\n\n".join(parts)[:characters]

    def _read(self, path: Path) -> str:
        opened = _OPEN.get(path.suffix, open)
        try:
            with opened(path, "rb") as file:
                return file.read().decode(self.encoding)
        except (OSError, UnicodeDecodeError):
            return ""


def _without_markup(text: str) -> str:
    return re.sub(r"\n\s*\n+", "\n\n", _ROFF.sub("", text))


def _manuals(language: str) -> Text:
    return Text(f"/usr/share/man/{language}//man*/*.gz", clean=_without_markup)


class _Names(Text):
    """The names of Unicode's characters, in an order that a seed draws."""

    def read(self, characters: int) -> str:
        names = [unicodedata.name(chr(code), "") for code in range(0x20000)]
        # ideographs have numbers, not names
        kept = [n for n in names if n and not re.search(r"[0-9A-F]{4}$", n)]
        random.Random(0).shuffle(kept)
        return "\n".join(kept)[:characters]


ROOT = Path(__file__).resolve().parent.parent.parent
TEXTS: dict[str, Text] = {
    "plays": Text(f"{ROOT}/data/raw/sample//*.txt"),
    "python": Text(f"{sysconfig.get_path('stdlib')}//[a-z]*.py"),
    "licences": Text("/usr/share/common-licenses//*"),
    "perl": Text("/usr/share/perl//**/*.pm"),
    "changes": Text("/usr/share/doc//*/changelog*.gz"),
    "packages": Text("/var/lib/dpkg//status"),
    "help": Text("/usr/share/vim//vim*/doc/*.txt"),
    "names": _Names(""),
    "german": _manuals("de"),
    "french": _manuals("fr"),
    "russian": _manuals("ru"),
    "polish": _manuals("pl"),
    "japanese": _manuals("ja"),
}
