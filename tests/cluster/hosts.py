"""Hosts with a network between them: network namespaces of this machine, joined by a bridge."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Hosts:
    """Some hosts, `host0`, `host1` and so on, which know each other by these names."""

    def __init__(self, count: int, folder: Path) -> None:
        self.prefix = f"tl{os.getpid()}"
        self.count = count
        lines = [f"{self.address(host)} host{host}" for host in range(count)]
        self.names = folder / "hosts"
        self.names.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]), encoding="ascii")

    def make(self) -> None:
        """Make them; raises CalledProcessError where that is not allowed."""
        bridge = f"{self.prefix}b"
        _ip("link", "add", bridge, "type", "bridge")
        _ip("link", "set", bridge, "up")
        for host in range(self.count):
            name, cable = self.name(host), f"{self.prefix}c{host}"
            _ip("netns", "add", name)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", cable, "master", bridge)
            _ip("link", "set", cable, "up")
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Remove whatever there is of them."""
        for host in range(self.count):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", self.name(host))
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "delete", f"{self.prefix}b")

    def name(self, host: int) -> str:
        """Its name."""
        return f"{self.prefix}h{host}"

    def address(self, host: int) -> str:
        """Its address."""
        return f"10.77.0.{host + 1}"

    def cut_off(self, host: int) -> None:
        """Unplug it: nothing arrives any more, and nobody is told."""
        _ip("link", "set", f"{self.prefix}c{host}", "down")

    def plug_in(self, host: int) -> None:
        """Undo `cut_off`."""
        _ip("link", "set", f"{self.prefix}c{host}", "up")

    def command(self, host: int) -> list[str]:
        """What to put before a command to run it there."""
        script = 'mount --bind "$0" /etc/hosts && hostname "$1" && shift && exec "$@"'
        shell = ["unshare", "--uts", "--mount", "sh", "-c", script, str(self.names)]
        return ["ip", "netns", "exec", self.name(host), *shell, f"host{host}"]


@contextlib.contextmanager
def hosts(count: int) -> Iterator[Hosts]:
    """Make hosts, and remove them."""
    with tempfile.TemporaryDirectory(prefix="tinyllm-hosts-") as folder:
        made = Hosts(count, Path(folder))
        try:
            made.make()
            yield made
        finally:
            made.remove()


def why_no_hosts() -> str:
    """Why no hosts can be made here; empty if they can."""
    try:
        with hosts(1) as one:
            subprocess.run([*one.command(0), "true"], check=True, capture_output=True, text=True)
            return ""
    except FileNotFoundError:
        return "network namespaces need the programs ip and unshare"
    except subprocess.CalledProcessError as error:
        return f"no network namespace can be made here: {error.stderr.strip()}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
