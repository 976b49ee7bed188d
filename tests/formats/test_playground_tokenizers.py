"""The page's tokenizers read texts as Python's do, whatever is in them."""

import json
import random
import shutil
import subprocess
import time

import pytest

from tests.tokenizers import DIFFICULT, KINDS, learned
from tinyllm.formats.playground import PAGE, describe_tokenizer
from tinyllm.inference.prompt import in_known_form
from tinyllm.tokens.byte_pairs import BytePairTokenizer
from tinyllm.tokens.characters import CharacterTokenizer

NODE = shutil.which("node")
PROMPTS = [
    "cafe\u0301",
    "caf\u00e9\r\n",
    "a\rb\r\nc\n",
    "\ufb01n\uff11 \u00bd",
    "\u2602 e\u0301",
    "\u1112\u1161\u11ab",
    "\U0001f600e\u0301",
    "",
]
ALPHABETS = [
    "caf\u00e9\n",
    "cafe\u0301\r",
    "abc\r\n",
    "fin12/\u2044 ",
    "\ud55c",
    "e\u0301\U0001f600",
]
# halves of surrogate pairs, which JavaScript's strings may hold
BROKEN = ("\ud83d", "a\ude00b \udc00\ud800", "\U0001f600\ud83d the")

pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node.js")


def node(tokenizer, call, values):
    """What a function of the page's tokenizer returns for each of some values."""
    script = (
        (PAGE / "tokenizers.js").read_text(encoding="utf-8")
        + f"""
    const [description, values] = JSON.parse(require("fs").readFileSync(0, "utf8"));
    const tokenizer = openTokenizer(description);
    console.log(JSON.stringify(values.map((value) => {call})));
    """
    )
    done = subprocess.run(
        [str(NODE), "-e", script],
        input=json.dumps([describe_tokenizer(tokenizer), values]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def drawn_texts(count):
    """Random texts of characters of all kinds, the likelier ones more often."""
    draw = random.Random(1)
    common = (
        " \n\t'.,sStTe\u3000\u00a0\u200d\ufeff\x85\u0301\u00e9\u6f22\u3042\uac00\u0661\U0001f600"
    )
    points = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]

    def character():
        return draw.choice(common) if draw.random() < 0.7 else chr(draw.choice(points))

    return ["".join(character() for _ in range(draw.randrange(60))) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_the_same_tokens(kind):
    tokenizer = learned(kind)
    texts = [*DIFFICULT, *BROKEN, *drawn_texts(2000)]
    found = node(tokenizer, "tokenizer.encode(value)", texts)
    for text, tokens in zip(texts, found, strict=True):
        if kind != "char" or text not in BROKEN:
            assert tokens == tokenizer.encode(text).tolist(), ascii(text)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_pieces_make_the_text(kind):
    texts = [*DIFFICULT, *drawn_texts(200)]
    assert node(learned(kind), 'tokenizer.pieces(value).join("")', texts) == texts


def test_every_character_splits_words_as_in_python():
    tokenizer = learned("bpe")
    points = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    random.Random(2).shuffle(points)
    texts = ["".join(f"e{chr(c)} the" for c in points[i : i + 100]) for i in range(0, 20_000, 100)]
    found = node(tokenizer, "tokenizer.encode(value)", texts)
    assert found == [tokenizer.encode(text).tolist() for text in texts]


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_text_that_is_written_is_what_python_decodes(kind):
    tokenizer = learned(kind)
    draw = random.Random(3)
    texts = [[draw.randrange(tokenizer.vocab_size) for _ in range(30)] for _ in range(300)]
    call = (
        "((stream) => value.map((token) => stream.push(token)).join('') + stream.finish())"
        "(tokenizer.stream())"
    )
    assert node(tokenizer, call, texts) == [tokenizer.decode(tokens) for tokens in texts]


def test_a_token_that_is_no_text_is_shown_by_its_bytes():
    tokenizer = BytePairTokenizer([("\u0120", "t"), ("\u00c3", "\u00a9"), ("\u00f0", "\u0141")])
    assert node(tokenizer, "tokenizer.label(value)", [65, 256, 257, 258, 0xC3]) == [
        "A",
        " t",
        "\u00e9",
        "\\xF0\\x9F",
        "\\xC3",
    ]


def test_pairs_that_make_the_same_token_are_one():
    tokenizer = BytePairTokenizer([("a", "b"), ("b", "c"), ("ab", "c"), ("a", "bc")])
    assert node(tokenizer, "[tokenizer.size, tokenizer.encode(value)]", ["abc"]) == [[259, [258]]]


def test_a_token_that_two_pairs_make_may_begin_an_earlier_pair():
    merges = [("a", "a"), ("a", "b"), ("a", "ab"), ("aab", "aa"), ("aa", "b")]
    tokenizer = BytePairTokenizer(merges)
    expected = tokenizer.encode("aabaab").tolist()
    assert [tokenizer.decode([token]) for token in expected] == ["aabaa", "b"]
    assert node(tokenizer, "tokenizer.encode(value)", ["aabaab"]) == [expected]


def drawn_pairs(draw):
    """Random pairs of two letters, some of which make the same tokens."""
    tokens, merges = ["a", "b"], []
    while len(merges) < 12:
        pair = (draw.choice(tokens), draw.choice(tokens))
        if pair not in merges:
            merges.append(pair)
            tokens.append("".join(pair))
    return merges


def test_pairs_are_joined_in_the_order_of_the_library():
    draw = random.Random(4)
    texts = ["".join(draw.choices("ab", k=draw.randrange(1, 40))) for _ in range(300)]
    for _ in range(20):
        tokenizer = BytePairTokenizer(drawn_pairs(draw))
        found = node(tokenizer, "tokenizer.encode(value)", texts)
        assert found == [tokenizer.encode(text).tolist() for text in texts]


def test_a_long_word_takes_no_long_time():
    texts = ["a" * 50_000, "ab" * 25_000, "\u6f22\u5b57" * 5_000]
    tokenizer = learned("bpe")
    since = time.monotonic()
    found = node(tokenizer, "tokenizer.encode(value)", texts)
    assert time.monotonic() - since < 30
    assert found == [tokenizer.encode(text).tolist() for text in texts]


def test_the_page_takes_the_same_form():
    for alphabet in ALPHABETS:
        tokenizer = CharacterTokenizer(alphabet)
        expected = [in_known_form(prompt, tokenizer) for prompt in PROMPTS]
        assert node(tokenizer, "tokenizer.inKnownForm(value)", PROMPTS) == expected
