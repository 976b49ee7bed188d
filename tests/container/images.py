"""The images of deploy/Dockerfile, built without a daemon on a base from Debian's packages.

buildah builds them as Docker would. What runs in one runs in its files, as its user and with its
command, in the network of this machine.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
NEEDED = ("buildah", "debootstrap", "pg_ctlcluster")
BASE = "localhost/tinyllm-test-base"
_MIRROR = "http://deb.debian.org/debian"
# where this machine's own certificates lie in a container, if programs are told to trust them
_CERTIFICATES = "/etc/certificates-of-the-host.crt"


def buildah(*words: str) -> str:
    """Run buildah and return what it printed; show all of that if it fails."""
    result = subprocess.run(
        ["buildah", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"buildah {' '.join(words)}\n{result.stdout}{result.stderr}"
    return result.stdout.strip()


def build_base() -> None:
    """The smallest Debian, from its packages, with what this machine says of package sources."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["debootstrap", "--variant=minbase", "bookworm", folder, _MIRROR],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, folder, "/")
    kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    if os.environ.get("SSL_CERT_FILE"):
        kept |= dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), _CERTIFICATES)
    settings = [word for name in kept for word in ("--env", f"{name}={kept[name]}")]
    buildah("config", *settings, container)
    buildah("commit", "--quiet", "--rm", container, BASE)


def build(target: str) -> str:
    """Build an image of the Dockerfile and return its name."""
    name = f"localhost/tinyllm-test-{target}"
    file = DEPLOY / "Dockerfile"
    words = ["--file", str(file), "--ignorefile", f"{file}.dockerignore", "--layers"]
    words += ["--format", "docker", "--isolation", "chroot", "--build-arg", f"BASE={BASE}"]
    buildah("bud", *words, *_mounts(), "--target", target, "--tag", name, ".")
    return name


def _mounts() -> list[str]:
    places = {os.environ.get("PIP_FIND_LINKS", ""): os.environ.get("PIP_FIND_LINKS", "")}
    places |= {os.environ.get("SSL_CERT_FILE", ""): _CERTIFICATES}
    there = ((here, at) for here, at in places.items() if here and Path(here).exists())
    return [word for here, at in there for word in ("--volume", f"{here}:{at}:ro")]


class Container:
    """A container of an image, in which commands can be run."""

    def __init__(self, image: str) -> None:
        """Make it; `remove` it in the end. The services of a stack are all on this machine."""
        hosts = [f"--add-host={name}:127.0.0.1" for name in ("postgres", "s3", "mlflow")]
        self.name = buildah("from", *hosts, image)
        self.config = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]

    def remove(self) -> None:
        """Delete it."""
        buildah("rm", self.name)

    def command(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        user: str | None = None,
    ) -> list[str]:
        """The command that runs words in it, as its own user unless another is named."""
        options = [f"--env={key}={value}" for key, value in (environment or {}).items()]
        options += [f"--volume={here}:{at}" for here, at in (mounts or {}).items()]
        options += [f"--user={user or self.config['User']}", "--isolation=chroot"]
        return ["buildah", "run", *options, self.name, "--", *words]

    @contextmanager
    def running(
        self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a command until the block ends."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                self.command(words, environment),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a container's command with all that it started, in whatever session that is."""
    tree = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    for one in reversed(tree):
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    for one in psutil.wait_procs(tree, timeout=30)[1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def missing_tools() -> list[str]:
    """What is needed and not installed."""
    return [name for name in NEEDED if shutil.which(name) is None]
