"""The README is true: its table is the program's, its files and targets exist."""

import re

from click.testing import CliRunner

from tests.conftest import ROOT
from tests.readme import README
from tinyllm.app.cli import main


def test_the_table_of_parameters_is_what_the_program_prints():
    printed = CliRunner().invoke(main, ["params"]).output.strip()
    assert printed in README


def test_every_picture_and_linked_file_is_there():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target


def test_every_make_target_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        a or b for a, b in re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", README, re.MULTILINE)
    }
    assert targets >= {"repro", "test", "ui", "chat"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_is_there():
    for name in set(re.findall(r"tinyllm ([a-z]+)[ `]", README)) - {"is"}:
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name
