"""Logging: in short on the screen, in full in a rotating file."""

import logging
import os
import subprocess
import sys

import pytest

from tinyllm.app.logger import get_logger, setup_logger


@pytest.fixture(autouse=True)
def logger():
    """The project's logger, given back afterwards as it was."""
    root = logging.getLogger("tinyllm")
    handlers, level, propagate = list(root.handlers), root.level, root.propagate
    root.handlers = []
    yield root
    for handler in root.handlers:
        handler.close()
    root.handlers, root.propagate = handlers, propagate
    root.setLevel(level)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("tinyllm.training.loop", "tinyllm.training.loop"),
        ("tinyllm", "tinyllm"),
        ("stages.train", "tinyllm.stages.train"),
        ("__main__", "tinyllm.__main__"),
    ],
)
def test_every_logger_is_a_child_of_the_projects(name, full):
    assert get_logger(name).name == full


def test_the_screen_shows_the_bare_message_and_the_level_of_what_is_bad(capsys):
    setup_logger()
    log = get_logger("tinyllm.part")
    log.debug("a detail")
    log.info("step %d", 7)
    log.warning("careful")
    log.error("broken")
    captured = capsys.readouterr()
    assert captured.err == "step 7\nWARNING: careful\nERROR: broken\n"
    assert captured.out == ""


def test_the_screen_takes_the_level_asked_for(capsys):
    setup_logger(level=logging.WARNING)
    get_logger("tinyllm.part").info("step")
    get_logger("tinyllm.part").warning("careful")
    assert capsys.readouterr().err == "WARNING: careful\n"


def test_the_file_holds_details_with_time_level_and_place(tmp_path):
    path = tmp_path / "logs/train.log"
    setup_logger(path)
    get_logger("tinyllm.part").debug("a détail")
    get_logger("tinyllm.part").warning("careful")
    detail, warning = path.read_text(encoding="utf-8").splitlines()
    assert detail.endswith(" DEBUG   tinyllm.part: a détail")
    assert warning.endswith(" WARNING tinyllm.part: careful")
    assert detail[:2] == "20"


def test_a_second_log_goes_on_after_the_first(tmp_path):
    path = tmp_path / "train.log"
    for word in ("one", "two"):
        setup_logger(path)
        get_logger("tinyllm.part").info(word)
    assert [line[-3:] for line in path.read_text().splitlines()] == ["one", "two"]


def test_the_file_rotates_and_keeps_five_of_a_megabyte(tmp_path):
    setup_logger(tmp_path / "train.log", level=logging.ERROR)
    for number in range(70):
        get_logger("tinyllm.part").info("%06d %s", number, "x" * 100_000)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["train.log", *(f"train.log.{n}" for n in range(1, 5))]
    assert all(path.stat().st_size <= 1_000_000 for path in tmp_path.iterdir())
    assert "000069 " in (tmp_path / "train.log").read_text()


def test_calling_it_again_replaces_what_was_set_up(tmp_path, capsys, logger):
    setup_logger(tmp_path / "one.log")
    setup_logger(tmp_path / "two.log")
    get_logger("tinyllm.part").info("hello")
    assert capsys.readouterr().err == "hello\n"
    assert (tmp_path / "one.log").read_text() == ""
    assert (tmp_path / "two.log").read_text().endswith("hello\n")
    setup_logger()
    assert len(logger.handlers) == 1


def test_a_log_file_that_cannot_be_opened_costs_one_warning(tmp_path, capsys):
    (tmp_path / "file").touch()
    path = tmp_path / "file/logs/train.log"
    setup_logger(path)
    get_logger("tinyllm.part").info("still here")
    warning, message = capsys.readouterr().err.splitlines()
    assert warning == f"WARNING: No log file: cannot write {path} (Not a directory)."
    assert message == "still here"


def test_messages_do_not_reach_the_loggers_of_others(capsys):
    seen = []
    handler = logging.Handler()
    handler.emit = seen.append
    logging.getLogger().addHandler(handler)
    try:
        setup_logger()
        get_logger("tinyllm.part").error("ours")
    finally:
        logging.getLogger().removeHandler(handler)
    assert seen == []
    assert capsys.readouterr().err == "ERROR: ours\n"


def test_libraries_are_quiet_unless_something_is_wrong():
    for name in ("mlflow", "alembic", "matplotlib", "urllib3", "torch"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    setup_logger()
    for name in ("mlflow", "alembic", "matplotlib", "urllib3", "torch"):
        assert logging.getLogger(name).level == logging.WARNING
    assert logging.getLogger("torch.onnx").level == logging.ERROR


def test_mlflow_is_told_through_the_environment_what_nobody_set_before():
    code = (
        "import os; from tinyllm.app.logger import setup_logger; setup_logger();"
        "print(os.environ['MLFLOW_LOGGING_LEVEL'], os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["MLFLOW_LOGGING_LEVEL"] = "DEBUG"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == "DEBUG true\n"
