"""Cases: the first hours of somebody who has never seen the program."""

import re
import socket

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World
from tests.project import run_in
from tinyllm.app.cli import main

FIRST = Mechanism.FIRST
_SMALL = ("--d-model=16", "--num-heads=1", "--num-layers=1", "--d-ff=32", "--sequence-length=16")


@case(FIRST, "`make ui` while its port is taken", "a sentence with another port")
def taken_port(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        world.run("python", "-m", "tinyllm.app.ui", port).told(f"Port {port}", "make ui PORT=")


@case(FIRST, "`make ui` at port 99999, at 'abc', at none", "a sentence")
def impossible_port(world: World) -> None:
    for port in (["99999"], ["abc"], []):
        world.run("python", "-m", "tinyllm.app.ui", *port).told("PORT=")


@case(FIRST, "the terminal of `make ui` is closed", "the port is free again", slow=True)
def closed_terminal(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    get = f"curl -s -o /dev/null localhost:{port}"
    world.shell(
        f"python -m tinyllm.app.ui {port} & until {get}; do kill -0 $! || exit 3; sleep 1; done; "
        f"kill -HUP $!; wait $!; ! {get}",
        limit=300,
    ).succeeded()


@case(FIRST, "`--help` of every command", "no mark-up of its source, lines of a screen", slow=True)
def help_of_every_command(world: World) -> None:
    for name in main.list_commands(None):  # type: ignore[arg-type]  # the list depends on no context
        shown = world.tinyllm(name, "--help").succeeded("Usage")
        assert "\\b" not in shown, name
        assert "``" not in shown, name
        assert max(map(len, shown.splitlines())) <= 100, name


@case(FIRST, "three steps, the rest at its defaults", "the warm-up follows", slow=True)
def short_run(world: World) -> None:
    place = world.outs()
    command = ("train", "--tokens", "data/tokens", "--out", "m", "--reports", "r", *_SMALL)
    result = world.tinyllm(*command, "--max-steps=3", cwd=place, limit=200)
    result.succeeded("bits per character on val")
    assert "loss" not in result.err
    world.tinyllm(*command, "--max-steps=3", "--warmup-steps=4", cwd=place).told("warmup_steps (4)")


@case(FIRST, "`summary` and `history` before any run", "they say `make repro`")
def before_any_run(world: World) -> None:
    for command in ("summary", "history"):
        world.tinyllm(command).told("make repro")


@case(FIRST, "`make repro` of a ZIP", "a sentence before any work")
def repro_of_a_zip(world: World) -> None:
    world.run("python", "-m", "tinyllm.app.repository").told("git init", "git commit")


@case(FIRST, "`dvc freeze train` and back", "dvc.yaml changes by a line, and back")
def freeze(world: World) -> None:
    project = world.made()
    for stage in ("tokenize", "train", "evaluate", "export"):
        world.run("dvc", "freeze", stage, cwd=project).succeeded()
        assert run_in(project, "git", "diff", "--numstat").stdout == "1\t0\tdvc.yaml\n"
        world.run("dvc", "unfreeze", stage, cwd=project).succeeded()
        assert run_in(project, "git", "diff", "--numstat").stdout == ""


@case(FIRST, "`dvc plots show`", "each picture once, no network, nothing untracked")
def plots_page(world: World) -> None:
    project = world.made()
    world.run("dvc", "plots", "show", cwd=project).succeeded()
    page = (project / "dvc_plots/index.html").read_text(encoding="utf-8")
    drawn = [line.strip() for line in page.splitlines() if "vegaEmbed(" in line or "<img" in line]
    drawn = [line for line in drawn if not line.startswith("function")]
    assert len(drawn) == len(set(drawn)) == 3
    assert "cdn" not in page
    assert "src=" not in page.replace('src="static/', "")
    assert run_in(project, "git", "status", "--short").stdout == ""


@case(FIRST, "`dvc pull` in a plain clone, from where the outs were pushed", "clean")
def plain_pull(world: World) -> None:
    project, clone = world.made(), world.folder / "clone"
    world.run("dvc", "remote", "add", "-q", "-d", "r", str(world.folder / "r"), cwd=project)
    world.run("dvc", "push", cwd=project).succeeded()
    run_in(project, "git", "commit", "-qam", "a remote")
    run_in(world.folder, "git", "clone", "-q", str(project), str(clone))
    world.run("dvc", "pull", cwd=clone).succeeded()
    assert "up to date" in world.run("dvc", "status", cwd=clone).succeeded()
    assert run_in(clone, "git", "status", "--short").stdout == ""


@case(FIRST, "a text of one's own, as the README says, here and in a copy", "works", slow=True)
def own_text(world: World) -> None:
    project = world.fresh()
    (project / "mine.txt").write_text("To be, or not to be, that is it.\n" * 90, encoding="utf-8")
    run_in(project, "git", "add", "mine.txt")
    run_in(project, "git", "commit", "-qm", "My text")
    source = ("-S", "prepare.source=mine.txt")
    for mode in ((), ("--temp",), ()):
        run = ("dvc", "exp", "run", *mode, *source, "tokenize")
        world.run(*run, cwd=project, limit=200).succeeded()
    changed = run_in(project, "git", "status", "--short").stdout.split()
    assert set(changed) <= {"M", "params.yaml", "dvc.lock", "??"}, changed


@case(FIRST, "values tried in a copy, as the README says", "nothing changes here", slow=True)
def values_in_a_copy(world: World) -> None:
    project = world.fresh()
    run = ("dvc", "exp", "run", "--temp", "-S", "train.max_steps=50", "tokenize")
    world.run(*run, cwd=project, limit=200).succeeded()
    assert run_in(project, "git", "status", "--short").stdout == ""


@case(FIRST, "`dvc exp show`, whole and as the README has it", "no checksum of ours as a column")
def experiments_shown(world: World) -> None:
    project = world.made()
    for options in ((), ("--only-changed",)):
        out = world.run("dvc", "exp", "show", *options, cwd=project).succeeded()
        assert not re.search("[0-9a-f]{33}", out), "longer than an MD5 of DVC's own"


@case(FIRST, "`repeat --seeds 2 -S train.seed=5`", "two seeds, which count up", slow=True)
def repeated_seed(world: World) -> None:
    repeat = ("repeat", "--seeds", "2", "-S", "train.seed=5")
    out = world.tinyllm(*repeat, cwd=world.made(), limit=200).succeeded("seed=5", "seed=6")
    assert len(set(re.findall(r"([0-9.]+) on test", out))) == 2
