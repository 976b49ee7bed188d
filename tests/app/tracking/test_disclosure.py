"""Files that look as if they held secrets, and that none of this repository's do."""

import subprocess

import pytest

from tests.conftest import ROOT
from tinyllm.app.tracking.disclosure import has_secret_name, holds_secret

WORD = "wonderland"
LETTERS = "aB3dE6gH9kL2nP5qR8tV1xY4"


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.production",
        "deploy/.env/x.py",
        "keys/id_rsa",
        "id_ed25519.pub",
        "server.pem",
        "server.key",
        "client.p12",
        "credentials.json",
        ".aws/credentials",
        "my_passwords.py",
        "API-key.toml",
        ".netrc",
        ".pgpass",
        ".npmrc",
        "vault.kdbx",
    ],
)
def test_names_of_secret_files(name):
    assert has_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["tokenizer.py", "secretary.py", "environments.py", "keys.py", "monkey.py", "passages.txt"],
)
def test_names_of_others(name):
    assert not has_secret_name(name)


@pytest.mark.parametrize(
    "line",
    [
        f'password = "{WORD}-9876"',
        f"url = 'postgresql://duke:{WORD}@host/db'",
        f'"https://duke:{WORD}@host/x"',
        f"-----BEGIN OPENSSH {'PRIVATE'} KEY-----",
        f"key = 'AKIA{'ABCDEFGH' * 2}'",
        f"t = 'ghp_{'a1B2' * 9}'",
        f"t = 'github_pat_{'a1B2' * 9}'",
        f"t = 'hf_{'abcDEF' * 6}'",
        f"t = 'sk-{LETTERS}'",
        f"t = 'glpat-{LETTERS[:20]}'",
        f"t = 'xoxb-{'1' * 12}-{'2' * 12}-{LETTERS}'",
        f"aws_secret_access_key = '{LETTERS}{LETTERS[:16]}'",
        f"API_KEY = '{LETTERS}'",
        f"api_token: '{LETTERS}'",
        f"client_secret: '{LETTERS}'",
    ],
)
def test_lines_with_secrets(line):
    assert holds_secret("run.py", f"import os\n{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        'password = os.environ["PASSWORD"]',
        'url = f"postgresql://duke:{password}@host/db"',
        "url = 'http://host:5000/a@b'",
        "sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'",
        "def tokenize(tokens, key=None): ...",
        f"password = '{WORD}'  # pragma: allowlist secret",
        "d = 'sk-learn'",
        "end_token = '<|endoftext|>'",
        "token = 'abc1'",
    ],
)
def test_lines_without(line):
    assert not holds_secret("run.py", f"import os\n{line}\n")


@pytest.mark.medium
def test_no_file_of_this_repository_is_refused():
    kinds = ("*.py", "*.yaml", "*.toml", "*.md", "*.js", "*.html", "*.css", "*.dvc")
    listed = subprocess.run(
        ["git", "ls-files", *kinds], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    files = [name for name in listed if (ROOT / name).is_file()]
    assert len(files) > 100
    refused = [
        name
        for name in files
        if has_secret_name(name) or holds_secret(name, (ROOT / name).read_text("utf-8"))
    ]
    assert refused == []
