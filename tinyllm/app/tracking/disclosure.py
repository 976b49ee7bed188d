"""Whether a file looks as if it held secrets, by its name and by its lines."""

import re
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePath

_NAME = re.compile(
    r"secret(?!ar)|credential|password|passwd|api[-_]?key|private[-_]?key|(?<![a-z])v?env(?![a-z])"
    r"|\.(?:pem|key|p12|pfx|jks|keystore|kdbx|asc|gpg)$|^\.?(?:netrc|pgpass|htpasswd|npmrc|pypirc)$"
    r"|^id_(?:rsa|dsa|ecdsa|ed25519)",
    re.IGNORECASE,
)
# lines that may hold one; the detector takes four seconds for a megabyte
_CANDIDATE = re.compile(
    r"://|[\w+/=-]{16}|pass|pwd|secret|token|key|auth|cred|private", re.IGNORECASE
)
# tokens that the detector does not know, by their prefixes or their name
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{30,}|github_pat_\w{30,}|sk-[\w-]{20,})"
    r"|token[\"']?\s*[:=]\s*[\"'](?=[^\"']*\d)[\w+/=.-]{12,}[\"']",
    re.IGNORECASE,
)
# checksums look like random secrets, too, and addresses are none
_TOO_EAGER = {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
# `password = {variable}` and lines that say `pragma: allowlist secret`
_FILTERS = (
    "allowlist.is_line_allowlisted",
    "heuristic.is_indirect_reference",
    "heuristic.is_prefixed_with_dollar_sign",
    "heuristic.is_templated_secret",
)


def has_secret_name(path: str) -> bool:
    """Whether the name of a file or of a folder above it is one for secrets."""
    return any(_NAME.search(part) for part in PurePath(path).parts)


def holds_secret(name: str, text: str) -> bool:
    """Whether one of the lines of a file looks like a secret.

    Args:
        name: of the file; its suffix says how a value is written in it.
        text: its lines, or some of them.
    """
    lines = [line for line in text.splitlines() if _CANDIDATE.search(line)]
    if not lines:
        return False
    return any(map(_TOKEN.search, lines)) or _detects(PurePath(name).suffix, lines)


def _detects(suffix: str, lines: Iterable[str]) -> bool:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.core.scan import scan_file
    from detect_secrets.settings import transient_settings

    kinds: dict[str, type] = get_mapping_from_secret_type_to_class()
    plugins = {kind.__name__ for kind in kinds.values()}
    filters = [f"detect_secrets.filters.{name}" for name in _FILTERS]
    settings = {
        "plugins_used": [{"name": name} for name in sorted(plugins - _TOO_EAGER)],
        "filters_used": [{"path": path} for path in filters],
    }
    with tempfile.TemporaryDirectory() as folder, transient_settings(settings):
        file = Path(folder, f"lines{suffix}")
        file.write_text("\n".join(lines), encoding="utf-8")
        return next(iter(scan_file(str(file))), None) is not None
