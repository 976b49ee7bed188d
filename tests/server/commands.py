"""The commands of docs/server.md, by the name behind each block's `bash`."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "server.md"


def read_blocks(text: str) -> dict[str, str]:
    """The named blocks of a page."""
    return dict(re.findall(r"^```bash (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


BLOCKS = read_blocks(PAGE.read_text(encoding="utf-8"))


def script(*names: str) -> list[str]:
    """The command that runs blocks one after the other in one shell."""
    return ["bash", "-euo", "pipefail", "-c", "\n".join(BLOCKS[name] for name in names)]


def run_blocks(
    *names: str, folder: Path, environment: dict[str, str], check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run blocks of the page in a folder; what they printed is shown when they fail."""
    result = subprocess.run(
        script(*names), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        raise AssertionError(f"{names} exited {result.returncode}\n{result.stdout}{result.stderr}")
    return result


def server_environment(home: Path) -> dict[str, str]:
    """The environment of a person at the prompt: nothing of DVC, MLflow or S3 is set."""
    ties = ("DVC_", "MLFLOW_", "AWS_", "MKL_", "PG", "ATEN_", "ONEDNN_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ties)}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    # no keys of the person, or of the machine, that runs the tests
    kept |= {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}
    kept |= {"GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "test@example.org"}
    return kept | {"GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "test@example.org"}
