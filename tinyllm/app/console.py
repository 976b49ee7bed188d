"""A console to talk to a model: prompts in, streamed text out, settings by slash commands."""

import contextlib
import difflib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tinyllm.app import prompts
from tinyllm.app.prompts import fresh_seed
from tinyllm.app.tables import write_passage
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.text import plain
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import stream_text

HELP = """\
Type a prompt, and the model continues it. Commands:
  /again       the last prompt with another seed
  /temp T      temperature; 0 always takes the likeliest token
  /tokens N    tokens to write: characters, bytes or pieces of words
  /topk K      choose among the K likeliest tokens; 0: among all
  /topp P      choose among the likeliest that together reach the share P
  /seed S      same seed, same text; /seed fresh: another one for each text
  /load MODEL  another model: a folder, or models:/NAME@ALIAS
  /info        the model and the settings
  /help        this text
  /quit        leave (or Ctrl-D)
Ctrl-C stops an answer. In a prompt, \\n is a new line, \\\\ a backslash, and \\/ a slash, also
where a command would stand."""

_SETTINGS = {
    "/temp": "temperature",
    "/tokens": "max_new_tokens",
    "/topk": "top_k",
    "/topp": "top_p",
    "/seed": "seed",
}
_COMMANDS = (*_SETTINGS, "/again", "/load", "/info", "/help", "/quit", "/exit")
_ESCAPES = {"\\n": "\n", "\\\\": "\\", "\\/": "/"}
# the likeness of two words of which one is taken for a slip of the other
_ALIKE = 0.7
_FRESH = "fresh"
_LONGEST_REASON = 300


class TinyLLMConsole:
    """The console's state: a model, its name and the sampling settings."""

    def __init__(
        self,
        model: Checkpoint,
        name: str,
        load: Callable[[str], Checkpoint],
        sampling: SamplingConfig | None = None,
        write: Callable[[str], Any] = write_passage,
    ) -> None:
        """Make a console.

        Args:
            model: the initial model.
            name: of the model.
            load: opens the model that `/load` names.
            sampling: initial settings; without a seed in them, each text gets a fresh one.
            write: receives all output; defaults to standard output.
        """
        self.model = model
        self.name = name
        self.sampling = sampling or SamplingConfig()
        self.fresh = "seed" not in self.sampling.model_fields_set
        self._load = load
        self._write = write
        self._last: str | None = None

    def run(self, lines: Iterator[str]) -> None:
        """Handle lines until they end or one is /quit."""
        self._write(f"tinyllm: {self.name}. /help lists the commands.\n")
        for line in lines:
            if not self.handle(line):
                break

    def handle(self, line: str) -> bool:
        """Answer a prompt or execute a command; False ends the console."""
        if not line.strip():
            return True
        word, _, argument = line.rstrip().partition(" ")
        if word not in _COMMANDS:
            if hint := _hint(line):
                self._write(hint + "\n")
            else:
                self._last = re.sub(r"\\[n\\/]", lambda found: _ESCAPES[found[0]], line)
                self._answer(self._last)
            return True
        if word in ("/quit", "/exit"):
            return False
        if word == "/again" and self._last is not None:
            self.sampling = self.sampling.model_copy(update={"seed": self.sampling.seed + 1})
            self._answer(self._last)
            return True
        try:
            self._write(plain(self._execute(word, argument.strip()), "\n") + "\n")
        except TinyLLMError as error:
            self._write(f"{plain(str(error))}\n")
        return True

    def _answer(self, prompt: str) -> None:
        if self.fresh:
            self.sampling = self.sampling.model_copy(update={"seed": fresh_seed()})
        pieces = stream_text(self.model, prompt, self.sampling)
        self._write(prompt)
        try:
            for piece in pieces:
                self._write(piece)
        except KeyboardInterrupt:
            self._write(" [stopped]")
        self._write("\n")

    def _execute(self, command: str, argument: str) -> str:
        if command == "/help":
            return HELP
        if command == "/info":
            return self._info()
        if command == "/again":
            return "There is no prompt yet to go on from again."
        if command == "/load":
            return self._open(argument)
        key = _SETTINGS[command]
        if argument and (key, argument) != ("seed", _FRESH):
            self.sampling = SamplingConfig.parse(self.sampling.model_dump() | {key: argument})
        if argument and key == "seed":
            self.fresh = argument == _FRESH
        return f"{key} = {self._shown(key)}"

    def _shown(self, key: str) -> str:
        if key == "seed" and self.fresh:
            return f"{_FRESH} for each text; of the last: {self.sampling.seed}"
        return str(getattr(self.sampling, key))

    def _open(self, name: str) -> str:
        if not name:
            return "Which model? /load takes a folder or models:/NAME@ALIAS."
        try:
            self.model, self.name = self._load(name), name
        except TinyLLMError:
            raise
        # whatever is wrong with another model, this one is still here
        except Exception as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise TinyLLMError(f"Cannot open {name[:_LONGEST_REASON]}: {reason}.") from None
        return f"Loaded {name}."

    def _info(self) -> str:
        config = self.model.model.config
        settings = ", ".join(f"{key} {self._shown(key)}" for key in self.sampling.model_fields)
        return (
            f"{self.name}: {self.model.model.num_parameters():,} parameters, "
            f"{config.num_layers} layers, width {config.d_model}, "
            f"{config.sequence_length} {self.model.tokenizer.unit}s of context, "
            f"{self.model.tokenizer.vocab_size} tokens\n{settings}"
        )


def _hint(line: str) -> str:
    """What to say of a line that looks like a misspelt command; nothing of any other."""
    word = line.split(maxsplit=1)[0]
    if not re.fullmatch(r"/[A-Za-z]+", word) or line[0].isspace():
        return ""
    close = difflib.get_close_matches(word.lower(), _COMMANDS, n=1, cutoff=_ALIKE)
    close += [one for one in _COMMANDS if word.lower().startswith(one) or one.startswith(word)]
    if not close:
        return ""
    return f"Do you mean {close[0]}? To send {word} as a text, write \\{word} instead."


def read_lines(history: Path) -> Iterator[str]:
    """Yield typed lines, with line editing and a history file; or piped lines.

    Raises:
        TinyLLMError: a piped line is not UTF-8.
    """
    if not sys.stdin.isatty():
        yield from prompts.read_lines()
        return
    # imported here, since a pipe needs no line editor
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    kept: FileHistory | InMemoryHistory = InMemoryHistory()
    # without a place to keep it, the history ends with the session
    with contextlib.suppress(OSError):
        history.parent.mkdir(parents=True, exist_ok=True)
        history.touch()
        kept = FileHistory(str(history))
    session: PromptSession[str] = PromptSession(history=kept)
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
