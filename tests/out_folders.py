"""A command's folder and file for tests, and what stands around them."""

import pytest

from tinyllm.base.errors import ConfigError
from tinyllm.base.outs import OutFile, OutFolder
from tinyllm.base.replacing import new_directory

FOLDER = OutFolder("tinyllm test", ("mark", "file", "deep/*"), mark="mark", sign=(b"by test",))

FILE = OutFile("tinyllm test", b"by test", b"sign")


def names(folder):
    """All that stands in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def snapshot(folder):
    """Everything below a folder: what links point at, what files hold."""
    return {
        str(path.relative_to(folder)): path.readlink()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def make(path, content="new"):
    """Write the folder anew, as the command would."""
    with new_directory(path, FOLDER) as temporary:
        (temporary / "mark").write_text("by test")
        (temporary / "deep").mkdir()
        (temporary / "deep/file").write_text(content)


def refusal(call, *arguments):
    """The one sentence with which something is refused as a usage error."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def put(name, content="mine"):
    """Puts a file below a folder."""

    def action(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return action


def link(name, target):
    """Puts a symbolic link into a folder."""
    return lambda folder: (folder / name).symlink_to(target)
