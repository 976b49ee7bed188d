"""A GGUF header is held against the length of the file before anybody believes it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyllm.base.errors import TinyLLMError
from tinyllm.formats.gguf_header import check_header

STRING, ARRAY = 8, 9


def header(tensors=0, fields=0, version=3):
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)


def named(name):
    return struct.pack("<Q", len(name)) + name


def field(kind, value):
    return named(b"k") + struct.pack("<I", kind) + value


def tensor(dimensions, offset):
    sizes = struct.pack(f"<{dimensions}Q", *[1] * dimensions)
    return named(b"t") + struct.pack("<I", dimensions) + sizes + struct.pack("<IQ", 0, offset)


WHOLE = {
    "nothing": header(),
    "a number": header(fields=1) + field(4, struct.pack("<I", 7)),
    "a text": header(fields=1) + field(STRING, named(b"abc")),
    "numbers": header(fields=1) + field(ARRAY, struct.pack("<IQ", 5, 2) + bytes(8)),
    "texts": header(fields=1) + field(ARRAY, struct.pack("<IQ", STRING, 2) + named(b"a") * 2),
    "a tensor": header(tensors=1) + tensor(2, 4) + bytes(8),
}
DAMAGED = {
    "empty": b"",
    "another program's": b"GGML" + bytes(40),
    "another version": header(version=1),
    "big-endian": header(version=3 << 24),
    "fields that are not there": header(fields=2**60),
    "tensors that are not there": header(tensors=2**60),
    "a text longer than the file": header(fields=1) + struct.pack("<Q", 2**62),
    "an array longer than the file": header(fields=1) + field(ARRAY, struct.pack("<IQ", 5, 2**60)),
    "texts that are not there": header(fields=1) + field(ARRAY, struct.pack("<IQ", STRING, 2**60)),
    "an array of arrays": header(fields=1) + field(ARRAY, struct.pack("<IQ", ARRAY, 1) + bytes(12)),
    "an unknown type": header(fields=1) + field(99, bytes(8)),
    "a tensor of many dimensions": header(tensors=1) + tensor(5, 0) + bytes(8),
    "a tensor beyond the end": header(tensors=1) + tensor(2, 9) + bytes(8),
}


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE.keys())
def test_what_fits_its_file_is_accepted(content, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    check_header(tmp_path / "model.gguf")


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_what_does_not_fit_its_file_is_refused(content, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(TinyLLMError, match=r"model\.gguf is damaged, or not .* wrote: "):
        check_header(tmp_path / "model.gguf")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_what_is_no_file_is_refused(make, tmp_path):
    make(tmp_path / "model.gguf")
    with pytest.raises(TinyLLMError, match="Cannot read"):
        check_header(tmp_path / "model.gguf")


@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_a_file_that_was_cut_off_is_refused(tmp_path_factory, name, data):
    whole = WHOLE[name]
    if name == "a tensor":
        # the tensor's own bytes are the reader's to count
        whole = whole[:-4]
    cut = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.mktemp("cut") / "model.gguf"
    path.write_bytes(whole[:cut])
    with pytest.raises(TinyLLMError, match="damaged"):
        check_header(path)
