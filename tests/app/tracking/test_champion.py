"""The gate of the registry: who is champion, who candidate, and the history that says why."""

import json
import threading

import pytest
from click.testing import CliRunner

from tests.app.tracking.conftest import POEM, export
from tinyllm.app.cli import main
from tinyllm.app.tracking.champion import find_versions, judge, make_champion
from tinyllm.app.tracking.store import connect
from tinyllm.app.tracking.succession import promotions

pytestmark = pytest.mark.medium


def aliased(store, alias):
    """The weights that carry an alias, None where none do."""
    number = store.client.get_registered_model("tinyllm").aliases.get(alias)
    if number is None:
        return None
    return store.client.get_model_version("tinyllm", number).tags["weights.sha256"]


def standing(store):
    """Champion and candidate."""
    return aliased(store, "champion"), aliased(store, "candidate")


def tinyllm(*arguments, code=0):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_only_what_beats_the_champion_by_more_than_the_margin_replaces_it(store):
    seen = []
    exports = (("first", 2.5), ("worse", 2.6), ("hardly better", 2.496), ("better", 2.48))
    for weights, bits in exports:
        export(store, weights, bits, margin=0.005)
        seen.append(standing(store))
    assert seen == [
        ("first", None),
        ("first", "worse"),
        ("first", "hardly better"),
        ("better", "hardly better"),
    ]


def test_small_gains_add_up_against_the_champion(store):
    for number in range(4):
        export(store, f"w{number}", 2.0 - 0.003 * number, margin=0.005)
    assert aliased(store, "champion") == "w2"


def test_figures_are_compared_as_numbers(store):
    export(store, "ten", 10.0)
    export(store, "nine", 9.5)
    assert aliased(store, "champion") == "nine"


def test_a_model_tested_on_another_text_waits_for_a_person(store):
    export(store, "of the play", 2.0)
    export(store, "of the poem", 1.0, split=POEM)
    assert standing(store) == ("of the play", "of the poem")
    assert "different parts of one (evaluate.split, evaluate.max_characters); --force" in tinyllm(
        "promote", code=1
    )
    tinyllm("promote", "--force")
    assert aliased(store, "champion") == "of the poem"
    export(store, "better on the poem", 0.9, split=POEM)
    assert aliased(store, "champion") == "better on the poem"


def test_a_champion_tested_on_a_second_text_keeps_its_figure_on_the_first(store):
    export(store, "w1", 2.0)
    export(store, "w1", 3.0, split=POEM)
    export(store, "w2", 2.1)
    assert standing(store) == ("w1", "w2")
    export(store, "w3", 1.9)
    assert aliased(store, "champion") == "w3"


def test_a_version_measured_anew_is_judged_anew(store):
    export(store, "w1", 2.0)
    export(store, "w2", 2.1)
    export(store, "w2", 1.9)
    assert aliased(store, "champion") == "w2"


def test_the_same_export_again_changes_nothing(store):
    for weights, bits in (("w1", 2.0), ("w2", 1.9), ("w3", 2.2)):
        export(store, weights, bits)
    before = tinyllm("history", "--json")
    for weights, bits in (("w1", 2.0), ("w3", 2.2), ("w2", 1.9)):
        export(store, weights, bits)
    assert tinyllm("history", "--json") == before


def test_a_version_that_was_rolled_back_is_not_promoted_by_a_rerun(store):
    export(store, "w1", 2.0)
    export(store, "w2", 1.9)
    assert "Version 1 of tinyllm is champion again, after version 2" in tinyllm("rollback")
    assert standing(store) == ("w1", None)
    export(store, "w2", 1.9)
    # not even with another figure
    export(store, "w2", 1.8)
    assert standing(store) == ("w1", None)
    export(store, "w3", 1.95)
    assert aliased(store, "champion") == "w3"
    tinyllm("promote", "2")
    assert aliased(store, "champion") == "w2"


def test_rollbacks_go_back_one_by_one_and_end_with_a_sentence(store):
    for number, bits in enumerate((2.0, 1.9, 1.8), start=1):
        export(store, f"w{number}", bits)
    tinyllm("rollback")
    assert aliased(store, "champion") == "w2"
    tinyllm("rollback", "--why", "it swears")
    assert aliased(store, "champion") == "w1"
    assert "no champion before" in tinyllm("rollback", code=1)
    export(store, "w4", 1.7)
    tinyllm("rollback")
    assert aliased(store, "champion") == "w1"
    assert "it swears" in tinyllm("history")


def test_a_rollback_passes_over_a_version_that_was_deleted(store):
    for number, bits in enumerate((2.0, 1.9, 1.8), start=1):
        export(store, f"w{number}", bits)
    store.client.delete_model_version("tinyllm", "2")
    tinyllm("rollback")
    assert aliased(store, "champion") == "w1"


def test_promote_takes_the_candidate_and_refuses_one_that_is_no_better(store):
    export(store, "w1", 2.0)
    assert "has no candidate" in tinyllm("promote", code=1)
    export(store, "w2", 2.1)
    refused = tinyllm("promote", code=1)
    assert "version 2 has 2.1000 bits per character, champion 1 has 2.0000" in refused
    assert aliased(store, "champion") == "w1"
    assert "champion, after version 1: forced" in tinyllm("promote", "--force")
    assert standing(store) == ("w2", "w1")
    assert "is champion already" in tinyllm("promote", "2", "--force", code=1)
    assert "no version 9" in tinyllm("promote", "9", code=1)
    # 2.0 beats 2.1 without being forced
    tinyllm("promote")
    assert aliased(store, "champion") == "w1"


def test_the_margin_of_promote_is_that_of_params(store, workspace):
    (workspace / "params.yaml").write_text("tracking: {champion_margin: 0.5}\n")
    export(store, "w1", 2.0)
    export(store, "w2", 1.8, margin=0.5)
    assert standing(store) == ("w1", "w2")
    assert "not better by more than 0.5" in tinyllm("promote", code=1)


def test_the_history_says_who_followed_whom_when_and_why(store):
    tags = {"git.commit": "0123456789" * 4, "git.uncommitted": "yes"}
    export(store, "w1", 2.0, tags=tags)
    export(store, "w2", 1.9)
    tinyllm("rollback")
    report = json.loads(tinyllm("history", "--json"))
    assert [(row["version"], row["aliases"]) for row in report["versions"]] == [
        (2, []),
        (1, ["champion"]),
    ]
    events = [(e["version"], e["before"], e["action"]) for e in report["promotions"]]
    assert events == [(1, 2, "rollback"), (2, 1, "gate"), (1, None, "gate")]
    times = [event["time"] for event in report["promotions"]]
    assert times == sorted(times, reverse=True)
    shown = tinyllm("history")
    for word in ("01234567+", "1.9000, 0.1", "rollback", "aaaaaaaa"):
        assert word.split(",")[0] in shown


def test_a_champion_from_before_the_history_can_be_gone_back_to(store):
    client = store.client
    client.create_registered_model("tinyllm")
    tags = {"test.fingerprint": "a" * 64, "test.bits_per_character": "2.0", "weights.sha256": "old"}
    client.create_model_version("tinyllm", str(store.folder), tags=tags)
    client.set_registered_model_alias("tinyllm", "champion", "1")
    export(store, "new", 1.9)
    assert aliased(store, "champion") == "new"
    tinyllm("rollback")
    assert aliased(store, "champion") == "old"


@pytest.mark.parametrize("broken", ["set_registered_model_alias", "set_model_version_tag"])
def test_a_delivery_that_broke_off_is_judged_again(store, monkeypatch, broken):
    export(store, "w1", 2.0)
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        raise OSError("the store went away")

    with monkeypatch.context() as patch:
        patch.setattr(store.client, broken, fail)
        with pytest.raises(OSError, match="went away"):
            export(store, "w2", 1.9)
    assert calls
    export(store, "w2", 1.9)
    assert aliased(store, "champion") == "w2"
    assert [event.version for event in promotions(find_versions(store.client, "tinyllm"))] == [1, 2]


def test_workers_that_register_at_once_leave_the_best_as_champion(store):
    export(store, "w0", 3.0)
    threads = [
        threading.Thread(target=export, args=(store, f"w{n}", 2.0 - n / 100)) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert aliased(store, "champion") == "w5"


def test_a_registry_that_lacks_the_model_costs_one_sentence(workspace):
    for command in (("promote",), ("rollback",), ("history",)):
        output = tinyllm(*command, "--name", "nobody", code=1)
        assert output.startswith("Error: ")
        assert len(output.splitlines()) == 1


def test_promoting_and_judging_need_no_more_than_the_registry(store):
    export(store, "w1", 2.0)
    client = connect()
    (version,) = find_versions(client, "tinyllm")
    event = make_champion(client, "tinyllm", version, None, "promote", "again")
    assert (event.action, event.why) == ("gate", "the first version")
    judge(client, "tinyllm", version.version, "a" * 64, 2.0, 0.0)
    assert aliased(store, "champion") == "w1"
