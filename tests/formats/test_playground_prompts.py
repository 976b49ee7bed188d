"""The page reads a prompt in the form in which Python reads it."""

import json
import shutil
import subprocess

import pytest

from tinyllm.formats.playground import PAGE
from tinyllm.inference.prompt import in_known_form
from tinyllm.tokens.characters import CharacterTokenizer

NODE = shutil.which("node")
PROMPTS = [
    "cafe\u0301",
    "caf\u00e9\r\n",
    "a\rb\r\nc\n",
    "\ufb01n\uff11 \u00bd",
    "\u2602 e\u0301",
    "\u1112\u1161\u11ab",
    "\U0001f600e\u0301",
    "",
]
ALPHABETS = [
    "caf\u00e9\n",
    "cafe\u0301\r",
    "abc\r\n",
    "fin12/\u2044 ",
    "\ud55c",
    "e\u0301\U0001f600",
]


@pytest.mark.skipif(NODE is None, reason="needs Node.js")
def test_the_page_takes_the_same_form():
    script = (
        (PAGE / "tokenizers.js").read_text(encoding="utf-8")
        + """
    const [alphabets, prompts] = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const of = (alphabet) => new CharacterTokenizer({ alphabet: Array.from(alphabet) });
    const forms = (alphabet) => prompts.map((prompt) => of(alphabet).inKnownForm(prompt));
    console.log(JSON.stringify(alphabets.map(forms)));
    """
    )
    done = subprocess.run(
        [str(NODE), "-e", script],
        input=json.dumps([ALPHABETS, PROMPTS]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        [in_known_form(prompt, CharacterTokenizer(alphabet)) for prompt in PROMPTS]
        for alphabet in ALPHABETS
    ]
