"""The world of a case: a scratch folder, projects in it, and commands run as a person runs them."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.project import clean_environment, copy_made, copy_project

TRACEBACK = "Traceback (most recent call last)"
_BIN = Path(sys.executable).parent
# of a command that has to say no; work takes longer, and names its own limit
_LONGEST = 60.0
_ERROR = re.compile(r"^(?:Error|ERROR): (.+)", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """What a command did; `seconds` by the clock, `megabytes` of memory at most."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float
    megabytes: float

    def told(self, *words: str, code: int | None = None) -> str:
        """Assert that the command failed with a sentence that holds these words; return it."""
        __tracebackhide__ = True
        assert self.code in ((1, 2) if code is None else (code,)), str(self)
        found = _ERROR.findall(self.err + self.out)
        assert found, f"no sentence\n{self}"
        missing = [word for word in words if word.lower() not in (self.err + self.out).lower()]
        assert not missing, f"without {missing}\n{self}"
        return str(found[-1])

    def succeeded(self, *words: str) -> str:
        """Assert that the command succeeded and printed these words; return what it printed."""
        __tracebackhide__ = True
        assert self.code == 0, str(self)
        missing = [word for word in words if word not in self.out + self.err]
        assert not missing, f"without {missing}\n{self}"
        return self.out

    def __str__(self) -> str:
        return (
            f"{' '.join(self.command)} exited {self.code} after {self.seconds:.1f} s, "
            f"{self.megabytes:.0f} MB\n{self.out[-3000:]}\n{self.err[-3000:]}"
        )


class World:
    """A scratch folder for one case."""

    def __init__(self, folder: Path, made: Callable[[], Path]) -> None:
        """Take an empty folder, and a function that returns a project whose pipeline ran."""
        self.folder = folder
        self._made = made

    def made(self, name: str = "project") -> Path:
        """A project whose reduced pipeline ran, with repository, cache, journal and store."""
        return copy_made(self._made(), self.folder / name)

    def fresh(self, name: str = "project") -> Path:
        """A project as cloned, with the reduced parameters; nothing has run yet."""
        target = self.folder / name
        target.mkdir()
        copy_project(target)
        return target

    def outs(self, *names: str) -> Path:
        """A folder with outs of the made project alone, such as `models/checkpoint`; no store."""
        target = self.folder / "outs"
        for name in names or ("data/prepared", "data/tokens", "models/checkpoint", "params.yaml"):
            source, place = self._made() / name, target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, place)
        return target

    def run(
        self,
        *command: str,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        given: str | bytes | None = "",
        limit: float = _LONGEST,
        memory: int | None = None,
    ) -> Result:
        """Run a command and see that it shows no traceback, ends in time and by itself.

        Args:
            command: `tinyllm` and `dvc` are those of this environment.
            cwd: the current folder; the scratch folder by default.
            env: changes of a person's environment; None removes a variable.
            given: standard input.
            limit: seconds that it may take.
            memory: megabytes of address space that it may use.
        """
        __tracebackhide__ = True
        variables = clean_environment()
        for name, value in (env or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value

        def confine() -> None:
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_AS, (memory << 20, memory << 20))

        program = str(_BIN / command[0]) if (_BIN / command[0]).exists() else command[0]
        data = given.encode("utf-8", "surrogateescape") if isinstance(given, str) else given
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            tempfile.TemporaryFile() as source,
        ):
            source.write(data or b"")
            source.seek(0)
            since = time.monotonic()
            process = subprocess.Popen(
                [program, *command[1:]],
                cwd=cwd or self.folder,
                env=variables,
                stdin=source,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=confine,  # noqa: PLW1509 - one thread
            )
            code, peak = _wait(process, limit)
            seconds = time.monotonic() - since
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace"))
        result = Result(tuple(command), code, texts[0], texts[1], seconds, peak)
        assert TRACEBACK not in result.out + result.err, f"a traceback\n{result}"
        assert code >= 0, f"killed by signal {-code}, or longer than {limit:g} s\n{result}"
        return result

    def tinyllm(self, *arguments: str, **how: object) -> Result:
        """Run `tinyllm`; see `run`."""
        __tracebackhide__ = True
        return self.run("tinyllm", *arguments, **how)  # type: ignore[arg-type]  # passed on as they come

    def shell(self, line: str, **how: object) -> Result:
        """Run a line in bash; see `run`."""
        __tracebackhide__ = True
        path = f"{_BIN}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, **(how.pop("env", None) or {})}  # type: ignore[dict-item]  # passed on as they come
        return self.run("bash", "-c", line, env=env, **how)  # type: ignore[arg-type]  # passed on as they come


def _wait(process: "subprocess.Popen[bytes]", limit: float) -> tuple[int, float]:
    """Wait for a process; return its exit code, and the most memory that it had, in megabytes."""
    deadline, peak = time.monotonic() + limit, 0.0
    while True:
        # not from the system's account of a child, which counts the memory of who forked it
        peak = _peak_megabytes(process.pid) or peak
        if (code := process.poll()) is not None:
            return code, peak
        if time.monotonic() > deadline:
            os.killpg(process.pid, 9)
            deadline = float("inf")
        time.sleep(0.01)


def _peak_megabytes(pid: int) -> float:
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text("ascii"))
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def snapshot(folder: Path) -> dict[str, bytes]:
    """The contents of every file below a folder, to compare with a later one."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
