"""A console to talk to a model: prompts in, streamed text out, settings by slash commands."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tinyllm.base.errors import TinyLLMError
from tinyllm.inference.checkpoint import Checkpoint
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import stream_text

HELP = """\
Type a prompt, and the model continues it. Settings:
  /temp T      temperature; 0 always takes the likeliest character
  /tokens N    characters to write
  /topk K      choose among the K likeliest characters; 0: among all
  /topp P      choose among the likeliest that together reach the share P
  /seed S      same seed, same text
  /load MODEL  another model: a folder, or models:/NAME@ALIAS
  /info        the model and the settings
  /help        this text
  /quit        leave (or Ctrl-D)
Ctrl-C stops an answer. A prompt may hold \\n for a new line."""

_SETTINGS = {
    "/temp": "temperature",
    "/tokens": "max_new_tokens",
    "/topk": "top_k",
    "/topp": "top_p",
    "/seed": "seed",
}


class TinyLLMConsole:
    """The console's state: a model, its name and the sampling settings."""

    def __init__(
        self,
        model: Checkpoint,
        name: str,
        load: Callable[[str], Checkpoint],
        sampling: SamplingConfig | None = None,
        write: Callable[[str], Any] | None = None,
    ) -> None:
        """Make a console.

        Args:
            model: the initial model.
            name: of the model.
            load: opens the model that `/load` names.
            sampling: initial settings.
            write: receives all output; defaults to standard output.
        """
        self.model = model
        self.name = name
        self.sampling = sampling or SamplingConfig()
        self._load = load
        self._write = write or _write_to_screen

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
        if not line.startswith("/"):
            self._answer(line.replace("\\n", "\n"))
            return True
        command, _, argument = line.strip().partition(" ")
        if command in ("/quit", "/exit"):
            return False
        try:
            self._write(self._execute(command, argument.strip()) + "\n")
        except TinyLLMError as error:
            self._write(f"{error}\n")
        return True

    def _answer(self, prompt: str) -> None:
        self._write(prompt)
        try:
            for character in stream_text(self.model, prompt, self.sampling):
                self._write(character)
        except KeyboardInterrupt:
            self._write(" [stopped]")
        self._write("\n")

    def _execute(self, command: str, argument: str) -> str:
        if command == "/help":
            return HELP
        if command == "/info":
            return self._info()
        if command == "/load":
            if not argument:
                return "Which model? /load takes a folder or models:/NAME@ALIAS."
            self.model, self.name = self._load(argument), argument
            return f"Loaded {argument}."
        if command in _SETTINGS:
            key = _SETTINGS[command]
            if argument:
                values = self.sampling.model_dump() | {key: argument}
                self.sampling = SamplingConfig.parse(values)
            return f"{key} = {getattr(self.sampling, key)}"
        return f"{command} is no command; /help lists them."

    def _info(self) -> str:
        config = self.model.model.config
        settings = ", ".join(f"{k} {v!r}" for k, v in self.sampling.model_dump().items())
        return (
            f"{self.name}: {self.model.model.num_parameters():,} parameters, "
            f"{config.num_layers} layers, width {config.d_model}, "
            f"{config.sequence_length} characters of context, "
            f"{self.model.tokenizer.vocab_size} tokens\n{settings}"
        )


def read_lines(history: Path) -> Iterator[str]:
    """Yield typed lines, with line editing and a history file; or piped lines."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    # imported here, since a pipe needs no line editor
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    history.parent.mkdir(parents=True, exist_ok=True)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(history)))
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return


def _write_to_screen(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
