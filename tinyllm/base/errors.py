"""Failures that a user can fix, each with its exit code."""


class TinyLLMError(Exception):
    """An error explained in one sentence: what, where, what to do.

    The command line prints the sentence without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class ConfigError(TinyLLMError):
    """A parameter or an option has an invalid value."""

    exit_code = 2


class Interrupted(TinyLLMError):
    """A signal asked the program to stop; the next run resumes from its saved state."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
