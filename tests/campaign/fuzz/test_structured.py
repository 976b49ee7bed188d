"""Inputs that have the right form, and any contents."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.app.experiments.space import override, parse_axis
from tinyllm.app.redaction import without_secrets
from tinyllm.app.tracking.entries import parse_entry
from tinyllm.app.verification.lock import read_lock
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.formats.tokenizer_json import huggingface_tokenizer, tokenizer_from_huggingface
from tinyllm.tokens.characters import CharacterTokenizer
from tinyllm.tokens.tokenizer import load_tokenizer

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
TREES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
PASSWORDS = st.text(min_size=6, max_size=20).filter(lambda text: text.strip("./:@?#*") == text)


def mixed(known):
    """Mappings with some of the known keys, of anything."""
    return st.dictionaries(st.sampled_from(known), TREES, max_size=len(known))


@given(
    st.sampled_from(["http", "postgresql", "s3", "mysql+pymysql"]),
    PASSWORDS,
    st.sampled_from(["see {}", "({})", "'{}' failed", "a {}, b", "x={} y"]),
)
def test_a_password_in_a_url_is_never_shown(scheme, password, around):
    url = f"{scheme}://ana:{quote(password, safe='')}@host.example/place"
    shown = without_secrets(around.format(url))
    assert quote(password, safe="") not in shown.replace("host.example/place", "")
    assert "host.example/place" in shown


@given(mixed(["kind", "time", "step", "values", "value", "stage", "experiment", "params", "tags"]))
def test_a_line_of_a_journal_is_an_event_or_refused(tree):
    for kind in ("run", "status", "metrics", "artifact", None):
        line = {**tree, "kind": kind} if kind else tree
        try:
            event = parse_entry(json.dumps(line).encode())
        except ValueError:
            continue
        assert event["kind"] in ("run", "status", "metrics", "figures", "artifact")
        assert isinstance(event["time"], int)


@given(mixed(["format", "unknown", "alphabet"]) | TREES)
def test_a_tokenizer_is_whole_or_refused(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("any") / "tokenizer.json"
    path.write_text(json.dumps(tree))
    for read in (load_tokenizer, tokenizer_from_huggingface):
        with pytest.raises(TinyLLMError, match=r"tokenizer\.json"):
            read(path)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_an_alphabet_survives_hugging_face(tmp_path_factory, alphabet):
    tokenizer = CharacterTokenizer(alphabet)
    path = tmp_path_factory.mktemp("any") / "tokenizer.json"
    path.write_text(json.dumps(huggingface_tokenizer(tokenizer)))
    assert tokenizer_from_huggingface(path).alphabet == tokenizer.alphabet


@given(st.dictionaries(st.text(max_size=5), mixed(["cmd", "outs", "deps", "params"]) | TREES))
def test_a_lock_is_read_or_refused(tmp_path_factory, stages):
    folder = tmp_path_factory.mktemp("any")
    (folder / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    try:
        read_lock(folder)
    except TinyLLMError as error:
        assert "dvc.lock" in str(error)  # noqa: PT017 - it may also be read


@given(
    st.sampled_from(["train.learning_rate", "model.d_ff", "train.dropout", "model.num_layers"]),
    st.sampled_from(["log({},{})", "uniform({},{})", "uniform({},{},{})", "[{},{}]"]),
    st.lists(st.floats() | st.integers() | st.text(max_size=3), min_size=3, max_size=3),
)
def test_a_search_space_is_of_its_parameter_or_refused(key, form, values):
    try:
        axis = parse_axis(f"{key}={form.format(*values)}")
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - it may also be one
        return
    assert axis.key == key
    assert axis.choices or axis.low < axis.high
    assert override(key, axis.low).startswith(f"++{key}=")
