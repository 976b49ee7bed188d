"""docs/server.md, done: a project, its second clone, and what goes wrong."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import pytest

from tests.server.commands import BLOCKS, run_blocks, script
from tests.server.team import free_ports

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

OUTS = ("data/prepared", "data/tokens", "models/checkpoint", "models/export")


def runs(shell, folder: Path) -> dict[str, dict]:
    found = json.loads(shell(folder, "tinyllm", "runs", "--json").stdout)
    return {run["params"]["train.max_steps"]: run for run in found}


def steps_of(folder: Path) -> str:
    line = next(s for s in (folder / "params.yaml").read_text().splitlines() if "max_steps" in s)
    return line.partition("max_steps: ")[2].partition(",")[0]


def objects(team, bucket: str) -> list[str]:
    store = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{team.environment['S3_PORT']}",
        aws_access_key_id=team.environment["S3_KEY"],
        aws_secret_access_key=team.environment["S3_SECRET"],
        region_name="us-east-1",
    )
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


def test_the_run_is_in_postgresql_its_files_are_in_s3_and_nothing_is_here(team, project, shell):
    assert not (project / "mlflow.db").exists()
    assert not (project / "mlruns").exists()
    run = runs(shell, project)["60"]
    assert run["status"] == "FINISHED"
    assert run["metrics"]["test_bits_per_character"] > 0
    question = "select count(*) from metrics where key = 'train_loss'"
    address = f"postgresql://mlflow@127.0.0.1:{team.environment['DATABASE_PORT']}/mlflow"
    environment = {**team.environment, "PGPASSWORD": team.environment["DATABASE_PASSWORD"]}
    counted = subprocess.run(
        ["psql", address, "-tAc", question],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert int(counted.stdout) >= 6, counted.stderr
    stored = objects(team, "mlflow")
    for ending in ("model.safetensors", "evaluate/samples.txt", "lineage/train/params.yaml"):
        assert any(key.endswith(ending) for key in stored), (ending, stored)


def test_nobody_enters_without_an_account(team):
    address = f"{team.uri}/api/2.0/mlflow/experiments/get-by-name?experiment_name=tinyllm"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(address, timeout=20)


def test_a_second_clone_restores_every_stage_and_runs_none(project, clone):
    printed = (clone / "pulled.log").read_text(encoding="utf-8")
    assert printed.count("didn't change, skipping") == 5
    assert "Running stage" not in printed
    files = [f for out in OUTS for f in (project / out).rglob("*") if f.is_file()]
    assert len(files) > 20
    for file in files:
        assert (clone / file.relative_to(project)).read_bytes() == file.read_bytes()


def test_the_champion_is_opened_served_and_made_again_in_the_second_clone(clone, shell, team):
    writing = ("--model", "models:/tinyllm@champion", "--max-new-tokens", "40", "--seed", "7")
    text = shell(clone, "tinyllm", "generate", *writing, "O, ").stdout.rstrip("\n")
    assert len(text) == 43
    assert served_text(clone, {**team.member, "SERVE_PORT": free_ports(1)[0]}) == text
    assert "Reproduced" in shell(clone, "tinyllm", "reproduce", "models:/tinyllm@champion").stdout


def served_text(folder: Path, environment: dict[str, str]) -> str:
    question = {
        "dataframe_records": [{"prompt": "O, "}],
        "params": {"max_new_tokens": 40, "seed": 7},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{environment['SERVE_PORT']}/invocations",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(
            script("serve"), cwd=folder, env=environment, stdout=log, stderr=log
        )
    try:
        for _ in range(240):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return json.load(answer)["predictions"][0]["text"]
            except OSError:
                assert server.poll() is None, (folder / "serve.log").read_text()
                time.sleep(0.5)
        raise AssertionError((folder / "serve.log").read_text())
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def test_a_wrong_password_costs_one_sentence_and_no_training(another, shell, project, team):
    trained = shell(another, "dvc", "repro", "train", MLFLOW_TRACKING_PASSWORD="wrong")
    warnings = [s for s in trained.stderr.splitlines() if "WARNING: MLflow" in s]
    assert len(warnings) == 1
    assert "it does not accept the password of 'member' in MLFLOW_TRACKING_PASSWORD" in warnings[0]
    assert "'tinyllm sync' delivers" in warnings[0]
    for command in (("sync",), ("runs",), ("generate", "--model", "models:/tinyllm@champion", "O")):
        refused = shell(another, "tinyllm", *command, check=False, MLFLOW_TRACKING_PASSWORD="wrong")
        assert refused.returncode == 1
        assert len(refused.stderr.splitlines()) == 1
        assert "does not accept the password of 'member'" in refused.stderr
    assert_complete_after_sync(another, shell, project, team)


def test_a_server_without_its_s3_keys_costs_one_sentence_and_no_training(
    another, shell, project, team
):
    team.restart_mlflow(S3_SECRET="wrong")  # pragma: allowlist secret
    try:
        trained = shell(another, "dvc", "repro", "train")
        refused = shell(another, "tinyllm", "sync", check=False)
    finally:
        team.restart_mlflow()
    warnings = [s for s in trained.stderr.splitlines() if "WARNING: MLflow" in s]
    assert len(warnings) == 1
    # its reason depends on how far the server came in the ten seconds that a command waits
    assert "'tinyllm sync' delivers" in warnings[0]
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "the server failed with HTTP status 500; its own log says why" in refused.stderr
    assert_complete_after_sync(another, shell, project, team)


def assert_complete_after_sync(folder, shell, project, team) -> None:
    """Sync delivers the whole run: every point once, its files, and that it has ended."""
    run_blocks("member", "sync", folder=folder, environment=team.member)
    steps = steps_of(folder)
    run = runs(shell, project)[steps]
    assert run["status"] == "FINISHED"
    address = f"{team.uri}/api/2.0/mlflow/metrics/get-history?run_id={run['run_id']}&metric_key="
    for metric, interval in (("train_loss", 10), ("val_loss", 20)):
        answer = shell(
            folder,
            "curl",
            "--silent",
            "--user",
            f"member:{team.member['MEMBER_PASSWORD']}",
            f"{address}{metric}",
        )
        points = [point["step"] for point in json.loads(answer.stdout)["metrics"]]
        assert points == sorted({*range(interval, int(steps) + 1, interval), int(steps)})
    assert any(f"{run['run_id']}/artifacts/train/history.csv" in o for o in objects(team, "mlflow"))


def test_a_push_without_keys_says_so_in_a_sentence_and_harms_nothing(project, team, tmp_path):
    place = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", project, place], env=team.member, check=True)
    refused = run_blocks("pull", folder=place, environment=team.member, check=False)
    assert refused.returncode == 1
    assert "Unable to locate credentials" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_every_block_of_the_page_is_run():
    used = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("*.py"))
    assert len(BLOCKS) == 15
    for name in BLOCKS:
        assert f'"{name}"' in used, name
