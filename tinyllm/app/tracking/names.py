"""Which names MLflow takes for experiments and registered models."""

from tinyllm.base.errors import ConfigError

# of MLflow's columns; SQLite would take longer ones, other databases refuse them
_LONGEST = 256


def check_names(experiment: str, registered_model: str) -> None:
    """Refuse names that MLflow would refuse, or could not find again.

    Raises:
        ConfigError: a name is refused; the message says which and why.
    """
    for key, name in (("experiment", experiment), ("registered_model", registered_model)):
        if problem := name_problem(name, of_model=key == "registered_model"):
            raise ConfigError(f"tracking.{key} is {_shown(name)}, but a name in MLflow {problem}.")


def name_problem(name: str, *, of_model: bool) -> str:
    """What MLflow has against a name, as the end of 'a name ...'; empty if nothing."""
    problems = {
        "cannot be empty": not name.strip(),
        f"has at most {_LONGEST} characters": len(name) > _LONGEST,
        "cannot hold both kinds of quotation marks": "'" in name and '"' in name,
        "cannot hold line breaks or control characters": not name.isprintable(),
        "of a registered model cannot hold '/' or ':'": of_model and bool({*"/:"} & {*name}),
        "of a registered model cannot be '.' or begin with '..'": of_model
        and (name == "." or name.startswith("..")),
    }
    return next((problem for problem, found in problems.items() if found), "")


def quoted(name: str) -> str:
    """A name as a literal of MLflow's filters, which know no escapes."""
    mark = '"' if "'" in name else "'"
    return f"{mark}{name}{mark}"


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}…")
