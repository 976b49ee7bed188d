"""The command line: a group that imports a command only when it is called."""

import importlib

import click

from tinyllm.app.stage_help import STAGE_HELP

# stage -> the room that its command lives in
_ROOMS = {
    "prepare": "corpus",
    "tokenize": "tokens",
    "train": "training",
    "evaluate": "evaluation",
    "export": "formats",
}
# name -> what `tinyllm --help` says of it; all but the stages live in tinyllm/app/commands/NAME.py
_COMMANDS = {
    "prepare": "Read raw text, clean it, split it into train, val and test.",
    "tokenize": "Learn the alphabet and turn the splits into token files.",
    "train": "Train a transformer; resumes where an interrupted run stopped.",
    "evaluate": "Measure a checkpoint on held-out text and draw samples.",
    "export": "Write a checkpoint in the forms that other programs open, and register it.",
    "generate": "Write text after a prompt.",
    "console": "Talk to a model.",
    "playground": "Open the model in the browser, without a server or a network.",
    "summary": "Say what the last pipeline run reached and what to do next.",
    "runs": "List the runs in MLflow, the best first.",
    "compare": "Put two runs side by side.",
    "report": "Write the report on a change in Markdown, as a pull request shows it.",
    "sweep": "Search for good parameters; each trial is a DVC experiment.",
    "repeat": "Run the pipeline with several seeds: mean and standard deviation.",
    "significance": "Say whether one run is better than another beyond the noise of the seeds.",
    "history": "List the registered models and who was champion when.",
    "promote": "Make a registered model champion.",
    "rollback": "Make the champion before the present one champion again.",
    "sync": "Bring MLflow what it could not take while a run was going on.",
    "verify": "Run the pipeline again from nothing and compare every byte with dvc.lock.",
    "reproduce": "Make a registered model again and compare the bytes.",
    "params": "Print every hyperparameter with its range and meaning, as a table.",
}


class LazyGroup(click.Group):
    """Lists commands from a table, so that `--help` imports neither torch nor mlflow."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The commands in the order in which a newcomer meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import the command's module, or return None for a name that is not in the table."""
        if cmd_name not in _COMMANDS:
            return None
        room = _ROOMS.get(cmd_name)
        name = f"tinyllm.{room}.command" if room else f"tinyllm.app.commands.{cmd_name}"
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            from tinyllm.base.command import missing_package

            raise click.ClickException(str(missing_package(error))) from None
        command: click.Command = getattr(module, cmd_name)
        command.help = STAGE_HELP.get(cmd_name, command.help)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tinyllm", prog_name="tinyllm")
def main() -> None:
    """Train, evaluate, export and register a small character-level language model.

    The five stages prepare, tokenize, train, evaluate and export are run in order by
    'dvc repro', with the hyperparameters of params.yaml. Each also works by hand:
    'tinyllm STAGE --help' lists its flags.
    """


if __name__ == "__main__":
    main()
