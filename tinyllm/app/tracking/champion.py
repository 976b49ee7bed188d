"""Which version of a registered model is champion, and which is candidate."""

import contextlib
import datetime as dt
import math
from collections.abc import Iterator
from typing import Any

from filelock import FileLock

from tinyllm.app.tracking.names import quoted
from tinyllm.app.tracking.succession import (
    Promotion,
    promotion_tag,
    promotions,
    rolled_back,
    succession,
)
from tinyllm.app.tracking.view import CHAMPION_TAG
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import working_folder

CHAMPION, CANDIDATE = "champion", "candidate"
SPLIT_TAG, BITS_TAG = "test.fingerprint", "test.bits_per_character"
# a tag for each text that a version was judged on, with its bits per character
_JUDGED = "judged."
_ALL = 10_000


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep processes on this machine from changing the champion at the same time."""
    with contextlib.ExitStack() as stack:
        # whoever may not write here may still change a registry elsewhere
        with contextlib.suppress(OSError):
            working_folder().mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(working_folder() / "registry.lock"))
        yield


def find_versions(client: Any, name: str) -> list[Any]:
    """All versions of a registered model, the oldest first."""
    found = client.search_model_versions(f"name = {quoted(name)}", max_results=_ALL)
    return sorted(found, key=lambda version: int(version.version))


def figures(version: Any) -> dict[str, float]:
    """Test bits per character of a version, by the fingerprint of the text.

    What somebody else wrote into these tags counts as no figure.
    """
    tags = version.tags
    known = {tags[SPLIT_TAG]: tags[BITS_TAG]} if SPLIT_TAG in tags and BITS_TAG in tags else {}
    known |= {k.removeprefix(_JUDGED): v for k, v in tags.items() if k.startswith(_JUDGED)}
    read = {text: _number(bits) for text, bits in known.items()}
    return {text: bits for text, bits in read.items() if math.isfinite(bits)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def find_aliased(client: Any, name: str, alias: str) -> Any | None:
    """The version with an alias; None if there is none."""
    number = client.get_registered_model(name).aliases.get(alias)
    return None if number is None else client.get_model_version(name, str(number))


def judge(client: Any, name: str, number: str, text: str, bits: float, margin: float) -> None:
    """Promote a version if it passes the gate, and update the alias `candidate`.

    A version is judged once for each result, so a rerun of the same weights changes nothing; only
    a user can promote a version again that was rolled back. The first version always passes.

    Args:
        client: MLflow's.
        name: the registered model.
        number: the version.
        text: fingerprint of the text it was tested on.
        bits: its bits per character there.
        margin: by which it must beat the champion on the same text.
    """
    version = client.get_model_version(name, number)
    if version.tags.get(_JUDGED + text) != str(bits):
        versions = find_versions(client, name)
        champion = find_aliased(client, name, CHAMPION)
        taken = rolled_back(promotions(versions))
        if champion is None:
            make_champion(client, name, version, None, "gate", "the first version")
        elif int(number) not in taken and champion.version != version.version:
            best = figures(champion).get(text)
            if best is not None and bits < best - margin:
                why = f"{bits:.4f} bits, {best - bits:.4f} fewer than version {champion.version}"
                make_champion(client, name, version, champion, "gate", why)
        # only now: a delivery that is interrupted before this judges again
        client.set_model_version_tag(name, number, _JUDGED + text, str(bits))
    name_candidate(client, name, text)


def make_champion(
    client: Any, name: str, version: Any, before: Any | None, action: str, why: str
) -> Promotion:
    """Give a version the alias `champion`, and record why."""
    events = promotions(find_versions(client, name))
    number = int(version.version)
    # after an interruption between the two writes, do not record the event twice
    if events and events[-1].version == number:
        event = events[-1]
    else:
        now = dt.datetime.now(tz=dt.UTC).isoformat(timespec="microseconds")
        predecessor = None if before is None else int(before.version)
        event = Promotion(now, number, predecessor, action, why)
        client.set_model_version_tag(name, version.version, *promotion_tag(event))
    # before the alias, without which an interrupted promotion is made again
    mark_run(client, name, version, before)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return event


def mark_run(client: Any, name: str, champion: Any, before: Any | None) -> None:
    """Tag the champion's run, and no longer that of the one before, for lists of runs."""
    from mlflow.exceptions import MlflowException

    # a model may have no run, and a run may have been deleted
    if before is not None and before.run_id and before.run_id != champion.run_id:
        with contextlib.suppress(MlflowException):
            client.delete_tag(before.run_id, CHAMPION_TAG)
    if champion.run_id:
        with contextlib.suppress(MlflowException):
            client.set_tag(champion.run_id, CHAMPION_TAG, f"{name} v{champion.version}")


def name_candidate(client: Any, name: str, text: str) -> None:
    """Give the alias `candidate` to the newest version tested on `text` that may be promoted."""
    versions = find_versions(client, name)
    champion = find_aliased(client, name, CHAMPION)
    taken = rolled_back(promotions(versions))
    waiting = [
        version
        for version in versions
        if text in figures(version)
        and int(version.version) not in taken
        and (champion is None or version.version != champion.version)
    ]
    if waiting:
        client.set_registered_model_alias(name, CANDIDATE, waiting[-1].version)
    elif CANDIDATE in client.get_registered_model(name).aliases:
        client.delete_registered_model_alias(name, CANDIDATE)


def refusal(version: Any, champion: Any | None, margin: float) -> str | None:
    """Why a version may not replace the champion; None if it may."""
    if champion is None:
        return None
    if champion.version == version.version:
        return f"version {version.version} is champion already"
    own, best = figures(version), figures(champion)
    common = [text for text in own if text in best]
    if not common:
        return (
            f"version {version.version} and champion {champion.version} were measured on different "
            f"texts, or on different parts of one (evaluate.split, evaluate.max_characters)"
        )
    text = champion.tags[SPLIT_TAG] if champion.tags.get(SPLIT_TAG) in common else common[0]
    if own[text] >= best[text] - margin:
        return (
            f"version {version.version} has {own[text]:.4f} bits per character, champion "
            f"{champion.version} has {best[text]:.4f}: not better by more than {margin:g}"
        )
    return None


def describe_standing(client: Any, name: str, number: str, margin: float) -> str:
    """A sentence on a version that was just registered: is it champion, and why or why not."""
    version, champion = client.get_model_version(name, number), find_aliased(client, name, CHAMPION)
    events = promotions(find_versions(client, name))
    if champion is not None and champion.version == version.version:
        why = f": {events[-1].why}" if events else ""
        return f"Version {number} of {name} is champion{why}."
    taken = int(number) in rolled_back(events)
    problem = "it was rolled back" if taken else refusal(version, champion, margin)
    return f"Version {number} of {name} is registered, and not champion: {problem}."


def promote(client: Any, name: str, number: int | None, margin: float, *, force: bool) -> Promotion:
    """Promote a version, by default the candidate, at a user's request.

    Raises:
        TinyLLMError: there is no such version, or it does not pass the gate and is not forced.
    """
    with one_at_a_time():
        if number is None:
            version = find_aliased(client, name, CANDIDATE)
            if version is None:
                raise TinyLLMError(f"{name} has no candidate; name a version ('tinyllm history').")
        else:
            version = _named(client, name, number)
        champion = find_aliased(client, name, CHAMPION)
        problem = refusal(version, champion, margin)
        already = champion is not None and champion.version == version.version
        if problem and (already or not force):
            hint = "" if already else "; --force promotes it all the same"
            raise TinyLLMError(f"Not promoted: {problem}{hint}.")
        why = f"forced, {problem}" if problem else _gain(version, champion)
        event = make_champion(client, name, version, champion, "promote", why)
        name_candidate(client, name, version.tags[SPLIT_TAG])
        return event


def roll_back(client: Any, name: str, why: str = "") -> Promotion:
    """Promote the champion before the present one again.

    Raises:
        TinyLLMError: there was none before.
    """
    with one_at_a_time():
        versions = find_versions(client, name)
        known = {int(version.version): version for version in versions}
        champion = find_aliased(client, name, CHAMPION)
        # a version that was deleted meanwhile cannot be gone back to
        line = [number for number in succession(promotions(versions)) if number in known]
        if champion is None or line[-1:] != [int(champion.version)] or len(line) < 2:
            raise TinyLLMError(
                f"{name} has no champion before the present one ('tinyllm history')."
            )
        reason = why or f"version {champion.version} was taken back"
        event = make_champion(client, name, known[line[-2]], champion, "rollback", reason)
        name_candidate(client, name, champion.tags[SPLIT_TAG])
        return event


def _named(client: Any, name: str, number: int) -> Any:
    for version in find_versions(client, name):
        if int(version.version) == number:
            return version
    raise TinyLLMError(f"{name} has no version {number}; 'tinyllm history' lists them.")


def _gain(version: Any, champion: Any | None) -> str:
    if champion is None:
        return "there was no champion"
    own, best = figures(version), figures(champion)
    text = next(text for text in own if text in best)
    return (
        f"{own[text]:.4f} bits, {best[text] - own[text]:.4f} fewer than version {champion.version}"
    )
