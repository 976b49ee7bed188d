"""Cases: what stands outside of the program changes nothing, and git's faults are told."""

import os
import shutil
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World, snapshot
from tests.project import run_in

FENCE = Mechanism.FENCE
_PLAIN = "/usr/local/bin:/usr/bin:/bin"
# only root may take another user's place
_CAN_CHANGE_USER = os.getuid() == 0 and shutil.which("setpriv") is not None
_TEXT = "To be, or not to be, that is the question.\n" * 60


def prepare_as_ever(world: World, env: dict[str, str | None], prefix: str = "") -> None:
    """The prepare stage, under these variables, writes what it writes without them."""
    (world.folder / "mine.txt").write_text(_TEXT, encoding="utf-8")
    command = "tinyllm prepare --source mine.txt --split-by corpus --out"
    world.shell(f"{command} plain").succeeded()
    world.shell(f"{prefix}{command} fenced", env=env).succeeded()
    assert snapshot(world.folder / "plain") == snapshot(world.folder / "fenced")


def evaluate_as_ever(world: World, env: dict[str, str | None], files: dict[str, str]) -> str:
    """The evaluate stage draws the same pictures, and says nothing new."""
    project = world.made()
    before = snapshot(project / "reports/evaluate")
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    variables = {k: v and v.replace("PROJECT", str(project)) for k, v in env.items()}
    result = world.run("python", "-m", "stages.evaluate", cwd=project, env=variables, limit=200)
    result.succeeded()
    assert snapshot(project / "reports/evaluate") == before
    return result.err


@case(FENCE, "the matplotlib backend of a notebook", "the same pictures", slow=True)
def backend_of_a_notebook(world: World) -> None:
    backend = "module://matplotlib_inline.backend_inline"
    evaluate_as_ever(world, {"MPLBACKEND": backend}, {})


@case(FENCE, "`font.size: 14` in matplotlibrc at home", "the same pictures", slow=True)
def matplotlibrc_at_home(world: World) -> None:
    rc = "font.size: 14\nlines.linewidth: 5\nsavefig.dpi: 50\n"
    evaluate_as_ever(world, {"HOME": "PROJECT/h"}, {"h/.config/matplotlib/matplotlibrc": rc})


@case(FENCE, "a matplotlibrc in the project's folder", "the same pictures", slow=True)
def matplotlibrc_in_the_project(world: World) -> None:
    evaluate_as_ever(world, {}, {"matplotlibrc": "font.size: 14\nsavefig.facecolor: red\n"})


@case(FENCE, "MATPLOTLIBRC names a file, MPLCONFIGDIR none", "the same pictures", slow=True)
def matplotlib_by_variables(world: World) -> None:
    env = {"MATPLOTLIBRC": "PROJECT/my.rc", "MPLCONFIGDIR": "/proc/none"}
    err = evaluate_as_ever(world, env, {"my.rc": "axes.grid: False\nfont.size: 9\n"})
    assert "Matplotlib" not in err


@case(FENCE, "PYTHONWARNINGS=error", "pictures as ever", slow=True)
def warnings_are_errors(world: World) -> None:
    evaluate_as_ever(world, {"PYTHONWARNINGS": "error", "PYTHONHASHSEED": "7"}, {})


@case(FENCE, "a home that cannot be written to", "pictures as ever, no warning", slow=True)
def read_only_home(world: World) -> None:
    assert "Matplotlib" not in evaluate_as_ever(world, {"HOME": "/proc"}, {})


@case(FENCE, "no locale at all, a text with a Russian name", "read by its name")
def ascii_locale(world: World) -> None:
    (world.folder / "Война и мир.txt").write_text(_TEXT * 2, encoding="utf-8")
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = ("prepare", "--source", "Война и мир.txt", "--split-by", "corpus", "--out", "out")
    world.tinyllm(*command, env=env).succeeded()
    assert (world.folder / "out/train-00000.txt").read_text(encoding="utf-8").startswith("To be")


@case(FENCE, "PYTHONIOENCODING=ascii:strict", "as ever")
def ascii_output(world: World) -> None:
    prepare_as_ever(world, {"PYTHONIOENCODING": "ascii:strict"})


@case(FENCE, "PYTHONOPTIMIZE=2, PYTHONSAFEPATH=1, PYTHONSTARTUP of a file that fails", "as ever")
def python_variables(world: World) -> None:
    (world.folder / "start.py").write_text("raise SystemExit(9)", encoding="utf-8")
    start = str(world.folder / "start.py")
    env = {"PYTHONOPTIMIZE": "2", "PYTHONSAFEPATH": "1", "PYTHONSTARTUP": start}
    prepare_as_ever(world, env)
    assert "Usage" in world.tinyllm("train", "--help", env=env).succeeded()


@case(FENCE, "umask 777", "files that their owner can read")
def forbidding_umask(world: World) -> None:
    prepare_as_ever(world, {}, "umask 777; ")


@case(FENCE, "umask 077", "files that only their owner can read")
def private_umask(world: World) -> None:
    prepare_as_ever(world, {}, "umask 077; ")
    for place in ("fenced", "fenced/train-00000.txt"):
        assert (world.folder / place).stat().st_mode & 0o077 == 0


@case(FENCE, "TORCH_LOGS=nonsense, TORCH_TRACE", "a text as ever")
def torch_variables(world: World) -> None:
    project = world.outs("models/checkpoint")
    settings = "TORCH_LOGS=nonsense TORCH_TRACE=/nowhere"
    world.shell(f"{settings} tinyllm generate --max-new-tokens 5 O", cwd=project).succeeded()


@case(FENCE, "no HOME, no USER", "as ever")
def no_home(world: World) -> None:
    prepare_as_ever(world, dict.fromkeys(("HOME", "USER", "LOGNAME")))


@case(FENCE, "a user id without an entry, as in many containers", "runs are recorded", slow=True)
def unknown_user(world: World) -> None:
    if not _CAN_CHANGE_USER:
        return
    project = world.made()
    world.folder.chmod(0o755)
    world.shell("chown -R 54321 .", cwd=project).succeeded()
    env = dict.fromkeys(("HOME", "USER", "LOGNAME"))
    as_nobody = "setpriv --reuid=54321 --regid=54321 --clear-groups "
    program = world.shell("readlink -f $(command -v python)").out
    if world.shell(f"{as_nobody} test -x {program}").code:
        return  # this Python is its installer's alone
    for command in ("tinyllm runs", "python -m stages.export"):
        world.shell(f"{as_nobody}{command}", cwd=project, env=env, limit=200).succeeded()


@case(FENCE, "the current folder was deleted", "a sentence")
def deleted_folder(world: World) -> None:
    line = "mkdir gone && cd gone && rmdir ../gone && exec tinyllm runs"
    world.shell(line).told("no longer exists", "cd")


@case(FENCE, "TMPDIR names a folder that does not exist", "as ever")
def no_temporary_folder(world: World) -> None:
    prepare_as_ever(world, {"TMPDIR": "/nonexistent/tmp"})


@case(FENCE, "TMPDIR is a file", "a report as ever")
def temporary_file(world: World) -> None:
    (world.folder / "file").touch()
    env = {"TMPDIR": str(world.folder / "file")}
    world.tinyllm("report", "--no-verify", cwd=world.made(), env=env).succeeded("Metrics")


@case(FENCE, "`env -i HOME=... .venv/bin/dvc repro`", "stages find their Python", slow=True)
def dvc_without_activation(world: World) -> None:
    project = world.fresh()
    env = dict.fromkeys(os.environ) | {"HOME": str(world.folder), "PATH": _PLAIN}
    world.run("dvc", "repro", "tokenize", cwd=project, env=env, limit=200).succeeded()
    assert (project / "data/tokens/meta.json").is_file()


@case(FENCE, "`env -i HOME=... .venv/bin/tinyllm report`", "works")
def report_without_activation(world: World) -> None:
    env = dict.fromkeys(os.environ) | {"HOME": str(world.folder), "PATH": _PLAIN}
    result = world.tinyllm("report", "--no-verify", cwd=world.made(), env=env)
    result.succeeded("No difference")


@case(FENCE, "a hook's variables: GIT_DIR, GIT_INDEX_FILE, GIT_WORK_TREE", "another repository")
def variables_of_a_hook(world: World) -> None:
    project, other = world.made(), world.folder / "other"
    run_in(world.folder, "git", "init", "--quiet", str(other))
    names = ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY")
    env = dict.fromkeys(names, str(other / ".git"))
    before = snapshot(other)
    world.tinyllm("report", "--no-verify", cwd=project, env=env).succeeded("No difference")
    assert snapshot(other) == before


@case(FENCE, "a commit hook in a linked worktree runs `tinyllm verify`", "HEAD stays", slow=True)
def verify_in_a_hook(world: World) -> None:
    project, linked = world.made(), world.folder / "linked"
    run_in(project, "git", "worktree", "add", "-q", "-b", "feature", str(linked))
    hook = project / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec tinyllm verify > verdict.txt\n", encoding="utf-8")
    hook.chmod(0o755)
    (linked / "note.md").write_text("mine", encoding="utf-8")
    line = "git add note.md && git commit -qm note"
    world.shell(line, cwd=linked, limit=400).succeeded()
    assert "Reproduced" in (linked / "verdict.txt").read_text(encoding="utf-8")
    assert run_in(linked, "git", "status", "-sb").stdout.startswith("## feature")
    assert run_in(project, "git", "log", "-1", "--format=%s", "feature").stdout == "note\n"
    assert run_in(project, "git", "status", "-sb").stdout == "## main\n"


def strange_settings(world: World) -> dict[str, str | None]:
    """A home whose settings of git and DVC would change or stop whatever heeds them."""
    home = world.folder / "home"
    hooks = home / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "pre-commit", "reference-transaction"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    (home / "attributes").write_text("* text eol=crlf\n*.py filter=spoil\n", encoding="utf-8")
    (home / ".gitconfig").write_text(
        f"[core]\nautocrlf = true\nattributesFile = {home}/attributes\nhooksPath = {hooks}\n"
        f"[init]\ntemplateDir = {home}\n[clone]\ndefaultRemoteName = else\n"
        f'[url "https://nowhere.invalid/"]\ninsteadOf = /\n[filter "spoil"]\nsmudge = rev\n'
        "[diff]\nnoprefix = true\nexternal = false\n[color]\nui = always\n[apply]\n"
        "whitespace = error\n[commit]\ngpgSign = true\n[protocol]\nallow = never\n",
        encoding="utf-8",
    )
    (home / "config").write_text("[cache]\ntype = symlink\n", encoding="utf-8")
    return {"HOME": str(home), "DVC_GLOBAL_CONFIG_DIR": str(home), "GIT_PAGER": "false"}


@case(
    FENCE,
    "a gitconfig that converts and forbids, links in DVC's cache",
    "reproduced",
    slow=True,
)
def settings_and_verify(world: World) -> None:
    project = world.made()
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "changed \n", encoding="utf-8")
    result = world.tinyllm("verify", cwd=project, env=strange_settings(world), limit=400)
    result.succeeded("Reproduced: 12 outs")


@case(FENCE, "the same gitconfig", "a report as ever")
def settings_and_report(world: World) -> None:
    result = world.tinyllm("report", "--no-verify", cwd=world.made(), env=strange_settings(world))
    result.succeeded("No difference")


@case(FENCE, "`git -c core.autocrlf=true clone`", "the same bytes, nothing modified")
def converted_newlines(world: World) -> None:
    project, clone = world.made(), world.folder / "clone"
    run_in(world.folder, "git", "-c", "core.autocrlf=true", "clone", "-q", str(project), str(clone))
    assert run_in(clone, "git", "-c", "core.autocrlf=true", "status", "--short").stdout == ""
    names = [p for p in snapshot(clone) if not p.startswith(".git/")]
    assert all((clone / n).read_bytes() == (project / n).read_bytes() for n in names)


def subfolder(world: World) -> tuple[Path, Path]:
    """A project in a folder of another team's repository."""
    project = world.made("larger/models/ours")
    top = world.folder / "larger"
    world.shell("rm -rf .git", cwd=project).succeeded()
    (top / "theirs").mkdir()
    (top / "theirs/file.py").write_text("theirs\n", encoding="utf-8")
    run_in(top, "git", "init", "-q", "-b", "main")
    run_in(top, "git", "add", "--all")
    run_in(top, "git", "commit", "-q", "-m", "all")
    return top, project


@case(FENCE, "a project in a subfolder of a larger repository: report", "finds its own files")
def report_in_a_subfolder(world: World) -> None:
    _, project = subfolder(world)
    result = world.tinyllm("report", "--no-verify", "--base", "HEAD", cwd=project)
    result.succeeded("No figure of the evaluation changed")


@case(FENCE, "a project in a subfolder of a larger repository: verify", "reproduced", slow=True)
def verify_in_a_subfolder(world: World) -> None:
    top, project = subfolder(world)
    (top / "theirs/file.py").write_text("changed\n", encoding="utf-8")
    result = world.tinyllm("verify", cwd=project, limit=400)
    result.succeeded("Reproduced: 12 outs", "train")
    assert run_in(top, "git", "status", "--short").stdout == " M theirs/file.py\n"


@case(FENCE, "a shallow clone", "reproduced", slow=True)
def shallow_clone(world: World) -> None:
    clone = world.folder / "clone"
    source = f"file://{world.made()}"
    run_in(world.folder, "git", "clone", "-q", "--depth=1", source, str(clone))
    world.tinyllm("verify", cwd=clone, limit=400).succeeded("Reproduced")


@case(FENCE, "no git on this machine", "a sentence")
def no_git(world: World) -> None:
    project = world.made()
    empty = {"PATH": str(world.folder)}
    for command in ("verify", "report"):
        world.tinyllm(command, cwd=project, env=empty).told("git cannot be run", "install")


@case(FENCE, "a ZIP without .git", "a sentence with the commands that help")
def no_repository(world: World) -> None:
    project = world.made()
    world.shell("rm -rf .git", cwd=project).succeeded()
    for command in (("verify",), ("report",), ("repeat", "--seeds", "2")):
        world.tinyllm(*command, cwd=project).told("git init", "git commit")


@case(FENCE, "a repository without a commit", "a sentence with the commands that help")
def no_commit(world: World) -> None:
    project = world.made()
    world.shell("rm -rf .git && git init -q", cwd=project).succeeded()
    for command in (("verify",), ("report",), ("repeat", "--seeds", "2")):
        world.tinyllm(*command, cwd=project).told("no commit", "git commit")


@case(FENCE, "the repository is another user's", "a sentence with the command that trusts it")
def foreign_owner(world: World) -> None:
    if not _CAN_CHANGE_USER:
        return
    project = world.made()
    world.shell("chown 54321 . .git", cwd=project).succeeded()
    env = {"GIT_CONFIG_GLOBAL": "/dev/null"}
    world.tinyllm("verify", cwd=project, env=env).told("another user", "safe.directory")


@case(FENCE, "a .git that is damaged", "a sentence")
def damaged_repository(world: World) -> None:
    project = world.made()
    (project / ".git/HEAD").write_bytes(b"\xff\x00")
    world.tinyllm("verify", cwd=project).told("git")


@case(FENCE, "a project that no commit holds", "a sentence")
def uncommitted_project(world: World) -> None:
    project = world.made()
    line = "rm -rf .git && git init -q && git add README.md && git commit -qm start"
    world.shell(line, cwd=project).succeeded()
    world.tinyllm("verify", cwd=project).told("has no pipeline", "git add")


@case(FENCE, "dvc.lock empty, binary, without stages, in conflict", "a sentence")
def damaged_lock(world: World) -> None:
    project = world.made()
    lock = (project / "dvc.lock").read_bytes()
    for data in (b"", b"\xff\x00", b"schema: '2.0'\n", b"<<<<<<< HEAD\n" + lock, lock[:900]):
        (project / "dvc.lock").write_bytes(data)
        world.tinyllm("verify", cwd=project).told("dvc.lock")


@case(FENCE, "settings of pip and uv: PIP_USER, PIP_TARGET, UV_PYTHON, PYTHONHOME", "unset in make")
def settings_of_pip(world: World) -> None:
    (world.folder / "Makefile").write_text(
        f"include {world.fresh()}/Makefile\nshown:\n\t@env\n", encoding="utf-8"
    )
    env = {"PIP_USER": "1", "PIP_TARGET": "/x", "PIP_PREFIX": "/x", "UV_PYTHON": "3.9"}
    env |= {"PYTHONSTARTUP": "/x", "PIP_REQUIRE_VIRTUALENV": "1", "PIP_CONSTRAINT": "/x"}
    kept = {"PIP_INDEX_URL": "https://a", "UV_DEFAULT_INDEX": "https://b", "PIP_CERT": "/c"}
    out = world.shell("make -s shown", env=env | kept).succeeded()
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    assert kept.items() <= found.items()
    assert {name for name in env if name in found} == {"PIP_USER", "PIP_REQUIRE_VIRTUALENV"}
    assert found["PIP_USER"] == found["PIP_REQUIRE_VIRTUALENV"] == "0"


@case(FENCE, "PYTHONPATH with another package `stages` and another `yaml`", "not ours, not used")
def foreign_modules(world: World) -> None:
    (world.folder / "p/stages").mkdir(parents=True)
    for name in ("stages/__init__.py", "dvc.py", "git.py"):
        (world.folder / "p" / name).write_text("raise SystemExit(7)", encoding="utf-8")
    env = {"PYTHONPATH": str(world.folder / "p")}
    world.tinyllm("report", "--no-verify", cwd=world.made(), env=env).succeeded("No difference")
