"""Cases: what MLflow lost, and projects that were moved or copied."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

from tests.campaign.case import Mechanism, case
from tests.campaign.store_kill import IN_PLACE, everything_is_delivered, make_project
from tests.campaign.world import Result, World, snapshot

JOURNAL = Mechanism.JOURNAL
CHAMPION = ("generate", "What", "--model", "models:/tinyllm@champion", "--max-new-tokens", "8")
LONG = 600.0


def curves(place: Path) -> list[tuple[str, int, float]]:
    """Key, step and value of all points in a project's store that every training repeats."""
    with contextlib.closing(sqlite3.connect(place / "mlflow.db")) as store:
        rows = store.execute(
            "SELECT key, step, value FROM metrics JOIN runs USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND key NOT LIKE 'system/%' "
            "AND key NOT LIKE '%per_second' ORDER BY 1, 2, 3"
        )
        return rows.fetchall()


def journal_of(place: Path) -> Path:
    """The only journal of a project."""
    (path,) = (place / ".tinyllm" / "journal").glob("*.jsonl")
    return path


def lose_store(place: Path) -> None:
    """Delete all that MLflow has."""
    (place / "mlflow.db").unlink()
    shutil.rmtree(place / "mlruns")


def whole(world: World, place: Path, before: list[tuple[str, int, float]]) -> None:
    """See that `sync` brings everything back, once, and that the model can be used."""
    world.tinyllm("sync", cwd=place).succeeded()
    assert curves(place) == before
    world.tinyllm(*CHAMPION, cwd=place).succeeded("What")


def mlflow(world: World, place: Path, line: str) -> Result:
    """Run a line on MLflow's client `c` for a project's store."""
    uri = f"sqlite:///{place}/mlflow.db"
    code = f"from mlflow import MlflowClient; c = MlflowClient({uri!r}); {line}"
    return world.run("python", "-c", code, cwd=place)


@case(
    JOURNAL, "`rm -r mlflow.db mlruns; tinyllm sync`", "runs, curves and models are back", slow=True
)
def lost_store(world: World) -> None:
    """The journal rebuilds an empty store completely."""
    place = world.made()
    before = curves(place)
    lose_store(place)
    whole(world, place, before)
    (run,) = json.loads(world.tinyllm("runs", "--json", cwd=place).succeeded())
    names = run["run_id"][:8], run["run_id"][:8]
    assert "samples" in world.tinyllm("compare", *names, "--json", cwd=place).succeeded()


@case(JOURNAL, "mlflow.db is replaced by an empty store", "everything is back", slow=True)
def replaced_store(world: World) -> None:
    """What was delivered is not believed, but asked for."""
    place = world.made()
    before = curves(place)
    (place / "mlflow.db").unlink()
    world.run(*IN_PLACE, cwd=place).succeeded()
    whole(world, place, before)


@case(
    JOURNAL, "`rm -r mlruns; tinyllm sync`", "files and models are back, curves are once", slow=True
)
def lost_files(world: World) -> None:
    """The database knows a run whose files are gone."""
    place = world.made()
    before = curves(place)
    shutil.rmtree(place / "mlruns")
    whole(world, place, before)
    assert list((place / "mlruns").rglob("samples.txt"))


@case(JOURNAL, "`rm -r mlruns/models; tinyllm sync`", "the models are back", slow=True)
def lost_models(world: World) -> None:
    """Only a part of the files is gone."""
    place = world.made()
    before = curves(place)
    shutil.rmtree(place / "mlruns" / "models")
    whole(world, place, before)


@case(JOURNAL, "delete the run in MLflow; `tinyllm sync`", "one run, all curves, once", slow=True)
def deleted_run(world: World) -> None:
    """MLflow keeps a deleted run, but shows it no longer."""
    place = world.made()
    before = curves(place)
    mlflow(world, place, "c.delete_run(c.search_runs(['1'])[0].info.run_id)").succeeded()
    assert curves(place) == []
    whole(world, place, before)


@case(JOURNAL, "delete the run; `dvc repro -f -s train`", "one run, all curves, once", slow=True)
def deleted_run_trained_again(world: World) -> None:
    """The next run brings back all of it, too."""
    place = world.made()
    before = curves(place)
    mlflow(world, place, "c.delete_run(c.search_runs(['1'])[0].info.run_id)").succeeded()
    world.run("dvc", "repro", "-f", "-s", "train", cwd=place, limit=LONG).succeeded()
    assert curves(place) == before


@case(JOURNAL, "delete the experiment in MLflow; `tinyllm sync`", "it is restored", slow=True)
def deleted_experiment(world: World) -> None:
    """Its name is still taken, so nothing could be made under it."""
    place = world.made()
    before = curves(place)
    mlflow(world, place, "c.delete_experiment('1')").succeeded()
    whole(world, place, before)


@case(
    JOURNAL, "delete the registered model and the store; sync", "it is registered again", slow=True
)
def deleted_model(world: World) -> None:
    """All at once."""
    place = world.made()
    before = curves(place)
    mlflow(world, place, "c.delete_registered_model('tinyllm')").succeeded()
    lose_store(place)
    whole(world, place, before)


@case(JOURNAL, "`rm mlflow.db` while training; `tinyllm sync`", "everything is there", slow=True)
def store_lost_while_training(world: World) -> None:
    """The delivery still holds the deleted file open."""
    place = world.made()
    before = curves(place)
    line = "(sleep 7; rm -f mlflow.db) & dvc repro -f -s train; wait"
    world.shell(line, cwd=place, limit=LONG).succeeded()
    whole(world, place, before)


@case(JOURNAL, "`tinyllm sync` twice", "nothing is recorded twice", slow=True)
def synced_twice(world: World) -> None:
    """Without its state, a journal is delivered into the same run."""
    place = world.made()
    before = curves(place)
    for state in (place / ".tinyllm" / "journal").glob("*.state.json"):
        state.unlink()
    whole(world, place, before)
    whole(world, place, before)


def _moved(name: str) -> None:
    def check(world: World) -> None:
        original = world.made()
        before = curves(original)
        place = original.rename(world.folder / name)
        world.tinyllm(*CHAMPION, cwd=place).succeeded("What")
        (run,) = json.loads(world.tinyllm("runs", "--json", cwd=place).succeeded())
        two = world.tinyllm("compare", run["run_id"], run["name"], "--json", cwd=place).succeeded()
        assert all(json.loads(two)["samples"])
        whole(world, place, before)
        assert not original.exists()

    check.__name__ = f"moved_to_{''.join(c if c.isascii() and c.isalnum() else '_' for c in name)}"
    given = f"`mv project '{name}'`, then generate with the champion, compare, sync"
    case(JOURNAL, given, "works, and nothing appears at the old place", slow=True)(check)


for _name in ("elsewhere", "a b%20c#d", "Война"):
    _moved(_name)


@case(
    JOURNAL, "`cp -r project copy`, then work in the copy", "the original stays as it is", slow=True
)
def copied_project(world: World) -> None:
    """A copy reads its own files and writes its own."""
    original = world.made()
    world.tinyllm("runs", cwd=original).succeeded()
    before = snapshot(original)
    place = shutil.copytree(original, world.folder / "copy", symlinks=True)
    points = curves(place)
    world.run("dvc", "repro", "-f", "-s", "evaluate", cwd=place, limit=LONG).succeeded()
    shutil.rmtree(place / "mlruns")
    whole(world, place, points)
    world.tinyllm("rollback", cwd=place).told("before the present one")
    assert snapshot(original) == before


@case(
    JOURNAL, "the project is entered through a symbolic link", "nothing counts as moved", slow=True
)
def linked_project(world: World) -> None:
    """Two names of one place."""
    original = world.made()
    # it was copied here, and MLflow notes beside a model that it was opened
    world.tinyllm("sync", cwd=original).succeeded()
    world.tinyllm(*CHAMPION, cwd=original).succeeded()
    before = snapshot(original / "mlruns")
    (world.folder / "link").symlink_to(original)
    place = world.folder / "link"
    world.shell(f"cd {place} && tinyllm runs && {' '.join(['tinyllm', *CHAMPION])}").succeeded()
    assert snapshot(original / "mlruns") == before
    with contextlib.closing(sqlite3.connect(original / "mlflow.db")) as store:
        ((home,),) = store.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'tinyllm'"
        )
    assert home == (original / "mlruns").as_uri()


@case(
    JOURNAL, "train in an outage, `mv` the project, `tinyllm sync`", "everything arrives", slow=True
)
def moved_in_an_outage(world: World) -> None:
    """Files that wait for delivery move along."""
    original = world.made()
    before = curves(original)
    lose_store(original)
    shutil.rmtree(original / ".tinyllm")
    down = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    for stage in ("train", "evaluate", "export"):
        run = ("dvc", "repro", "-f", "-s", stage)
        world.run(*run, cwd=original, env=down, limit=LONG).succeeded("'tinyllm sync' delivers")
    place = original.rename(world.folder / "elsewhere")
    whole(world, place, before)
    assert not original.exists()


@case(
    JOURNAL,
    "a store named relatively, and a run in DVC's copy",
    "the project has the run",
    slow=True,
)
def relative_store(world: World) -> None:
    """`MLFLOW_TRACKING_URI=sqlite:///mlflow.db` means the project's."""
    place = world.made()
    own = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    run = ("dvc", "exp", "run", "--temp", "-S", "train.max_steps=20", "-n", "short")
    world.run(*run, cwd=place, env=own, limit=LONG).succeeded()
    runs = json.loads(world.tinyllm("runs", "--json", cwd=place, env=own).succeeded())
    assert sorted(run["params"]["train.max_steps"] for run in runs) == ["20", "60"]


@case(
    JOURNAL,
    "kill -9 while the first store is made, four times",
    "the next command works",
    slow=True,
)
def killed_while_making_the_store(world: World) -> None:
    """A half-made store is made again."""
    for number, after in enumerate((0.8, 1.4, 2.0, 2.6)):
        place = world.folder / str(number)
        place.mkdir()
        make_project(place)
        world.shell(f"timeout -s KILL {after} tinyllm sync; true", cwd=place)
        world.tinyllm("sync", cwd=place).succeeded()
        assert everything_is_delivered(place)


def _unwritable(stage: str) -> None:
    def check(world: World) -> None:
        place = world.made()
        shutil.rmtree(place / ".tinyllm" / "journal")
        (place / ".tinyllm" / "journal").write_text("in the way")
        run = ("dvc", "repro", "-f", "-s", stage)
        result = world.run(*run, cwd=place, limit=LONG)
        result.succeeded("is not recorded")
        assert (result.out + result.err).count("is not recorded") == 1
        world.tinyllm("runs", cwd=place).succeeded()

    check.__name__ = f"unwritable_journal_{stage}"
    given = f".tinyllm/journal cannot be written, `dvc repro -f -s {stage}`"
    case(JOURNAL, given, "the outs are made, with one warning", slow=True)(check)


for _stage in ("train", "evaluate", "export"):
    _unwritable(_stage)
