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
    from tinyllm.app.tables import make_table, show

    heads = ("version", "alias", "bits/char", "test text", "commit", "registered")
    show(make_table(heads, map(_cells, rows)))
    if events:
        of_changes = ("champion since", "version", "before", "by", "why")
        changes = (
            (
                _when(event.time),
                str(event.version),
                "" if event.before is None else str(event.before),
                event.action,
                event.why,
            )
            for event in events
        )
        show("", make_table(of_changes, changes, wrapped=("why",)))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    bits = row["bits_per_character"]
    return (
        str(row["version"]),
        ", ".join(row["aliases"]),
        "" if bits is None else f"{bits:.4f}",
        (row["test_fingerprint"] or "")[:8],
        (row["commit"] or "")[:8] + ("+" if row["uncommitted"] else ""),
        _when(row["registered"]),
    )


def _when(time: float | str) -> str:
    import datetime as dt

    if isinstance(time, str):
        moment = dt.datetime.fromisoformat(time)
    else:
        moment = dt.datetime.fromtimestamp(time, tz=dt.UTC)
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")
