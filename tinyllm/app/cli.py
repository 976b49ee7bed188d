"""The command line: a group that imports each command on first use."""

import importlib

import click

from tinyllm.app.stage_help import STAGE_HELP
from tinyllm.base.barrier import Guarded

# stage -> package of its command
_PACKAGES = {
    "prepare": "corpus",
    "tokenize": "tokens",
    "train": "training",
    "evaluate": "evaluation",
    "export": "formats",
}
# name -> text in `tinyllm --help`; all but the stages are in tinyllm/app/commands/NAME.py
_COMMANDS = {
    "prepare": "Read raw text, clean it, split it into train, val and test.",
    "tokenize": "Learn the tokens and turn the splits into token files.",
    "train": "Train a transformer; resumes where an interrupted run stopped.",
    "evaluate": "Measure a checkpoint on held-out text and draw samples.",
    "export": "Write a checkpoint in formats that other programs open, and register it.",
    "plan": "Choose model, rates and steps for a text, a budget and this machine.",
    "generate": "Write text after a prompt.",
    "console": "Talk to a model.",
    "playground": "Open the model in the browser, without a server or a network.",
    "serve": "Serve a model over HTTP, with limits.",
    "summary": "Show what the last pipeline run reached and what to do next.",
    "runs": "List the runs in MLflow, the best first.",
    "compare": "Show two runs side by side.",
    "site": "Write runs, curves, reports and models as pages that need no server.",
    "report": "Write the report on a change in Markdown, as a pull request shows it.",
    "sweep": "Search for good parameters; each trial is a DVC experiment.",
    "repeat": "Run the pipeline with several seeds: mean and standard deviation.",
    "significance": "Tell whether one run is better than another beyond the noise of the seeds.",
    "history": "List the registered models and who was champion when.",
    "promote": "Make a registered model the champion.",
    "rollback": "Make the previous champion the champion again.",
    "sync": "Deliver to MLflow what it missed while it was unavailable.",
    "verify": "Run the pipeline again from scratch and compare every byte with dvc.lock.",
    "reproduce": "Rebuild a registered model and compare the bytes.",
    "params": "Print every hyperparameter with its range and meaning, as a table.",
}


class LazyGroup(Guarded, click.Group):
    """Lists commands from a table, so that `--help` imports neither torch nor mlflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands, in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import and return a command; None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        package = _PACKAGES.get(cmd_name)
        name = f"tinyllm.{package}.command" if package else f"tinyllm.app.commands.{cmd_name}"
        command: click.Command = getattr(importlib.import_module(name), cmd_name)
        command.help = STAGE_HELP.get(cmd_name, command.help)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.version_option(package_name="tinyllm", prog_name="tinyllm")
def main() -> None:
    """Train, evaluate, export and register a small character-level language model.

    'dvc repro' runs the five stages prepare, tokenize, train, evaluate and export in order, with
    the hyperparameters of params.yaml. Each can also be run by hand: 'tinyllm STAGE --help' lists
    its flags.
    """


if __name__ == "__main__":
    main()
