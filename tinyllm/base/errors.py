"""The two kinds of failure that a user can mend, each with its exit code."""


class TinyLLMError(Exception):
    """Something went wrong that one sentence explains: what, where, what to do.

    The command line prints the sentence without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class ConfigError(TinyLLMError):
    """A parameter or an option holds a value that it cannot hold."""

    exit_code = 2


class Interrupted(TinyLLMError):
    """A signal asked the program to stop; what it had done is kept for the next run."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
