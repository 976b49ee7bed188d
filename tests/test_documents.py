"""README and docs are true: every block runs or says why not; tables, files, targets exist."""

import re

import pytest
from click.testing import CliRunner

from tests.clients.serving import BLOCKS as SERVING_BLOCKS
from tests.conftest import ROOT
from tests.documents import BLOCKS, DOCUMENTS, RUN_HERE
from tests.server.commands import BLOCKS as SERVER_BLOCKS
from tinyllm.app.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_run_or_says_why_not(block):
    if block.name:
        elsewhere = SERVING_BLOCKS if block.document == "docs/serving.md" else SERVER_BLOCKS
        assert elsewhere[block.name] == block.text
        return
    assert block.language, f"{block}: name a language"
    assert block in RUN_HERE or block.excuse or block.language == "text", str(block)


def test_every_fence_is_a_block():
    fences = sum(
        len(re.findall(r"^```", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in DOCUMENTS
    )
    assert fences == 2 * len(BLOCKS)


def test_the_page_of_parameters_is_what_the_program_prints():
    page = (ROOT / "docs/parameters.md").read_text(encoding="utf-8")
    assert CliRunner().invoke(main, ["params"]).output == page


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_picture_and_linked_file_exists(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target


def test_every_file_that_the_map_names_exists():
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tinyllm/)?[\w]+/[\w/]+(?:\.py|/))`", text))
    assert len(named) > 30
    places = (ROOT, ROOT / "tinyllm")
    missing = [name for name in named if not any((place / name).exists() for place in places)]
    assert missing in ([], [".tinyllm/journal", ".tinyllm/training"]), missing


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts = " ".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    targets = {
        a or b for a, b in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", texts, re.MULTILINE)
    }
    assert targets >= {"repro", "test", "ui", "chat", "check"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_exists():
    for name in set(re.findall(r"`tinyllm ([a-z]+)[ `]", README)):
        assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0, name
