"""`tinyllm history`."""

import json
from typing import TYPE_CHECKING, Any

import click

from tinyllm.app.commands.registry import name_option, registry
from tinyllm.base.command import Command

if TYPE_CHECKING:
    from tinyllm.app.tracking.succession import Promotion


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Everything, for programs.")
@name_option
def history(name: str, *, as_json: bool) -> None:
    """List the versions of the registered model and how the champion changed, the newest first.

    Both come from the registry alone, so everyone who uses it sees the same.
    """
    from tinyllm.app.tracking.champion import find_versions
    from tinyllm.app.tracking.succession import promotions

    with registry(name) as client:
        aliases = client.get_registered_model(name).aliases
        versions = find_versions(client, name)
    rows = [_facts(version, aliases) for version in reversed(versions)]
    events = list(reversed(promotions(versions)))
    if as_json:
        report = {"versions": rows, "promotions": [event.to_dict() for event in events]}
        click.echo(json.dumps(report, indent=2))
    else:
        _show(rows, events)


def _facts(version: Any, aliases: dict[str, Any]) -> dict[str, Any]:
    from tinyllm.app.tracking.champion import BITS_TAG, SPLIT_TAG

    tags = version.tags
    return {
        "version": int(version.version),
        "aliases": sorted(
            a for a, number in aliases.items() if int(number) == int(version.version)
        ),
        "bits_per_character": float(tags[BITS_TAG]) if BITS_TAG in tags else None,
        "test_fingerprint": tags.get(SPLIT_TAG),
        "commit": tags.get("git.commit"),
        "uncommitted": tags.get("git.uncommitted") == "yes",
        "registered": version.creation_timestamp / 1000,
        "run_id": version.run_id,
    }


def _show(rows: list[dict[str, Any]], events: "list[Promotion]") -> None:
    from rich.console import Console
    from rich.table import Table

    versions, changes = Table(box=None, pad_edge=False), Table(box=None, pad_edge=False)
    for head in ("version", "alias", "bits/char", "test text", "commit", "registered"):
        versions.add_column(head, no_wrap=True)
    for row in rows:
        bits = row["bits_per_character"]
        commit = (row["commit"] or "")[:8] + ("+" if row["uncommitted"] else "")
        versions.add_row(
            str(row["version"]),
            ", ".join(row["aliases"]),
            "" if bits is None else f"{bits:.4f}",
            (row["test_fingerprint"] or "")[:8],
            commit,
            _when(row["registered"]),
        )
    for head in ("champion since", "version", "before", "by", "why"):
        changes.add_column(head, no_wrap=head != "why")
    for event in events:
        before = "" if event.before is None else str(event.before)
        changes.add_row(_when(event.time), str(event.version), before, event.action, event.why)
    screen = Console()
    # do not wrap lines in a file or a pipe
    wide = Console(width=None if screen.is_terminal else 1000)
    wide.print(versions)
    if events:
        wide.print("", changes, sep="\n")


def _when(time: float | str) -> str:
    import datetime as dt

    if isinstance(time, str):
        moment = dt.datetime.fromisoformat(time)
    else:
        moment = dt.datetime.fromtimestamp(time, tz=dt.UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
