"""A DVC project of one quick stage, for what is around experiments."""

import textwrap
from pathlib import Path

from tests.project import run_in

STAGE = """
import os, pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(float(sys.argv[2]))
pathlib.Path("out.txt").write_text(pathlib.Path("text.txt").read_text())
"""


def make_tiny(folder: Path, inside: str = "") -> Path:
    """Make and commit it; return its folder, `inside` a repository at `folder`.

    Its stage `work` writes its process id to `pid` above the repository and waits for
    `train.seconds`.
    """
    project = folder / inside
    project.mkdir(parents=True)
    (project / "stage.py").write_text(STAGE, encoding="utf-8")
    (project / "text.txt").write_text("committed", encoding="utf-8")
    (project / "params.yaml").write_text("train: {seconds: 0}\n", encoding="utf-8")
    pid = folder.parent / "pid"
    (project / "dvc.yaml").write_text(
        textwrap.dedent(f"""
            stages:
              work:
                cmd: python stage.py {pid} ${{train.seconds}}
                deps: [stage.py, text.txt]
                params: [train]
                outs: [out.txt]
        """),
        encoding="utf-8",
    )
    run_in(folder, "git", "init", "--quiet", "--initial-branch=main")
    run_in(project, "dvc", "init", "--quiet", *(["--subdir"] if inside else []))
    (project / ".gitignore").write_text("/.tinyllm\n/out.txt\n", encoding="utf-8")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "commit", "--quiet", "--message", "start")
    return project
