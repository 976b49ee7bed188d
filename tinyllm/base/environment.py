"""What stands outside of the program and must change nothing: variables, settings, places.

`fence_process` cleans what this process inherited; `child_environment` is what every process that
it starts inherits.
"""

import os
import pwd
import re
import sys
import tempfile
import warnings
from pathlib import Path

from tinyllm.base.errors import TinyLLMError

# Variables that change what programs do or write. Of git's, those that a hook sets: they tie every
# git command to the hook's repository.
_MEDDLING = re.compile(
    r"MPL|MATPLOTLIBRC$"
    r"|PYTHON(?!(?:UNBUFFERED|DONTWRITEBYTECODE|PYCACHEPREFIX|FAULTHANDLER|BREAKPOINT)$)"
    r"|GIT_(?:DIR|WORK_TREE|IMPLICIT_WORK_TREE|INDEX_FILE|INDEX_VERSION|PREFIX|COMMON_DIR|NAMESPACE"
    r"|SHALLOW_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|GRAFT_FILE|REPLACE_REF_BASE"
    r"|NO_REPLACE_OBJECTS|INTERNAL_\w+|QUARANTINE_PATH|DEFAULT_HASH|REFLOG_ACTION|EXEC_PATH|CONFIG"
    r"|TEMPLATE_DIR|ATTR_SOURCE|EXTERNAL_DIFF|DIFF_\w+|PAGER|TRACE\w*|REDIRECT_\w+|\w+_PATHSPECS)$"
    r"|TORCH_(?:LOGS|COMPILE_DEBUG|TRACE|SHOW_CPP_STACKTRACES|CPP_LOG_LEVEL)\w*$"
    r"|(?:BASH_ENV|ENV|CDPATH|GREP_OPTIONS|SHELLOPTS|BASHOPTS|LANGUAGE)$"
)
_OURS = str(Path(__file__).parents[2])
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def fence_process() -> None:
    """Make this process independent of what it inherited; called before anything else.

    Raises:
        TinyLLMError: the working directory was deleted, or no temporary file can be written.
    """
    _use_utf8()
    _check_places()
    # installed modules first; what only PYTHONPATH has stays available
    added = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path.sort(key=lambda entry: bool(entry) and entry in added and entry != _OURS)
    for name in _meddling():
        # the others that Python reads have had their effect
        if name != "PYTHONPATH":
            del os.environ[name]
    if sys.warnoptions:
        sys.warnoptions.clear()
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    # a file that not even its owner may read helps nobody
    os.umask(os.umask(0o077) & 0o077)
    _have_a_home()
    os.environ["MATPLOTLIBRC"] = os.devnull


def child_environment(**changes: str | None) -> dict[str, str]:
    """The environment of a process to start: this Python's programs first, nobody's settings.

    Args:
        changes: variables to set, or to remove if None.
    """
    programs = (str(Path(sys.executable).parent), os.environ.get("PATH") or os.defpath)
    values: dict[str, str | None] = {
        **os.environ,
        **dict.fromkeys(_meddling()),
        "PATH": os.pathsep.join(programs),
        # git and DVC say other words in other languages
        "LC_ALL": "C.UTF-8",
        "PYTHONUTF8": "1",
        # a command that reads a repository takes no lock, asks nothing and colors nothing
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "SHELL": "/bin/sh",
        "MATPLOTLIBRC": os.devnull,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def _meddling() -> set[str]:
    return {name for name in os.environ if _MEDDLING.match(name)}


def _use_utf8() -> None:
    """Start again in UTF-8 if the locale has fewer characters: it also encodes names of files."""
    if sys.getfilesystemencoding() == "utf-8":
        return
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    shown = {} if "ascii" in encoding.lower() else {"PYTHONIOENCODING": encoding}
    environment = {**os.environ, **shown, "PYTHONUTF8": "1"}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - itself


def _check_places() -> None:
    try:
        Path.cwd()
    except OSError:
        raise TinyLLMError(
            "The current folder no longer exists; change to the project's with 'cd' and try again."
        ) from None
    for name in _TEMPORARY:
        if (place := os.environ.get(name)) is not None and not _is_writable(place):
            del os.environ[name]
    try:
        tempfile.gettempdir()
    except OSError:
        raise TinyLLMError(
            "No temporary file can be written to /tmp; make room there, or name another folder by "
            "the variable TMPDIR."
        ) from None


def _have_a_home() -> None:
    """Give libraries a user's name and a folder to write to where the system knows none."""
    try:
        known = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        known = ""
        if not any(os.environ.get(name) for name in _NAMES):
            os.environ["USER"] = os.environ["LOGNAME"] = f"uid{os.getuid()}"
    home = os.environ.get("HOME") or known
    if not Path(home).is_absolute() or not Path(home).is_dir():
        home = _private_folder()
    os.environ["HOME"] = home
    if not _is_writable(home):
        os.environ["MPLCONFIGDIR"] = os.environ["XDG_CACHE_HOME"] = _private_folder()


def _private_folder() -> str:
    """A temporary folder that only this user can read, the same for all processes."""
    folder = Path(tempfile.gettempdir()) / f"tinyllm-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
            return str(folder)
    except OSError:
        pass
    return tempfile.mkdtemp(prefix="tinyllm-")


def _is_writable(folder: str) -> bool:
    try:
        # os.access says yes to root everywhere
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
