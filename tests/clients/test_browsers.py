"""The export as it lies, opened in browsers by a page with transformers.js and onnxruntime-web."""

import json
import shutil

import pytest

from tests.clients.conftest import COUNT, PROMPTS
from tests.clients.installing import ask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("clients"),
    pytest.mark.skipif(not shutil.which("npm"), reason="Node is not installed"),
]


# the drivers of Debian's packages alone cannot drive Firefox, which this one speaks to itself
@pytest.mark.parametrize(
    ("browser", "programs"),
    [
        ("chrome", ("chromium", "google-chrome")),
        # installed for this test only
        pytest.param("firefox", ("firefox-esr", "firefox"), marks=pytest.mark.exhaustive),
    ],
)
def test_a_page_writes_what_the_model_writes(browser, programs, javascript, folder, expected):
    program = next(filter(None, map(shutil.which, programs)), None)
    if program is None:
        pytest.skip(f"{programs[0]} is not installed")
    arguments = (browser, program, folder, json.dumps(PROMPTS), COUNT)
    found = ask("node", "browser.mjs", *arguments, cwd=javascript)
    assert found["fp32"] == {"alone": expected, "together": expected}
    assert found["graph"] == expected
    # weights of 8 bits may choose another letter at some time
    assert found["q8"]["alone"] == found["q8"]["together"]
    assert [text[:8] for text in found["q8"]["alone"]] == [text[:8] for text in expected]
    assert found["complaints"] == []
    # neither model nor program comes from another address
    assert found["elsewhere"] == []
