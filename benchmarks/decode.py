"""How fast one text is generated, character by character, on one thread.

    python benchmarks/decode.py [REPEATS]

The model has the shape of params.yaml with a window of 256 characters and random weights. The
peers: the same model without a cache, as in minimal GPTs (the last 256 characters are read again
for each one), and Hugging Face transformers' `generate(use_cache=True)`.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure, seconds_each, serve, table

WINDOW, CHARACTERS = 256, 100
VARIANTS = (
    "without cache",
    "transformers",
    "within the window",
    "beyond the window",
    "batch of 16, per text",
    "ONNX Runtime",
)


def run_variant(variant: str) -> None:
    """Generate texts on demand."""
    import torch

    from tinyllm.app.params import load_params
    from tinyllm.inference.checkpoint import Checkpoint
    from tinyllm.kernels.arithmetic import default_arithmetic
    from tinyllm.kernels.fused import build_model
    from tinyllm.tokens.characters import CharacterTokenizer

    torch.set_num_threads(1)
    shape = load_params(ROOT / "params.yaml")["model"].model_copy(
        update={"sequence_length": WINDOW}
    )
    tokenizer = CharacterTokenizer("".join(chr(code) for code in range(33, 97)))
    model = build_model(shape, tokenizer.vocab_size, default_arithmetic()).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0.0, 0.05, generator=generator)
    checkpoint = Checkpoint(model, tokenizer, {})
    makers: dict[str, Callable[[Checkpoint], Callable[[], float]]] = {
        "without cache": without_cache,
        "transformers": with_transformers,
        "within the window": lambda checkpoint: with_reader(checkpoint.reader(), 100, 1),
        "beyond the window": lambda checkpoint: with_reader(checkpoint.reader(), 300, 1),
        "batch of 16, per text": lambda checkpoint: with_reader(checkpoint.reader(), 100, 16),
        "ONNX Runtime": with_onnx,
    }
    serve(makers[variant](checkpoint))


def without_cache(checkpoint):
    """Read the whole window for each character."""
    import torch

    tokens = torch.randint(1, 60, (1, WINDOW))

    @torch.no_grad()
    def write_one() -> None:
        nonlocal tokens
        logits = checkpoint.model(tokens[:, -WINDOW:])[:, -1]
        tokens = torch.cat((tokens, logits.argmax(-1, keepdim=True)), dim=1)

    return lambda: seconds_each(write_one, CHARACTERS)


def with_reader(reader, prompt_length: int, rows: int):
    """With a cache; reading the prompt is not timed."""
    prompt = [1 + place % 60 for place in range(prompt_length)]

    def work() -> float:
        logits = reader.start([prompt] * rows)

        def write_one() -> None:
            nonlocal logits
            logits = reader.step(logits.argmax(-1).tolist())

        return seconds_each(write_one, CHARACTERS) / rows

    return work


def with_onnx(checkpoint):
    """ONNX Runtime, with a cache."""
    from tinyllm.formats.huggingface import write_description
    from tinyllm.formats.onnx_graph import write_onnx
    from tinyllm.formats.onnx_model import GRAPH, load_onnx

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_description(checkpoint, place)
        (place / GRAPH).parent.mkdir()
        write_onnx(checkpoint.model, place / GRAPH)
        model = load_onnx(place)
    return with_reader(model.reader(), 100, 1)


def with_transformers(checkpoint):
    """The exported model in transformers."""
    import torch
    from transformers import AutoModelForCausalLM, logging

    from tinyllm.formats.huggingface import write_description, write_weights

    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        write_description(checkpoint, Path(folder))
        write_weights(checkpoint, Path(folder))
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = torch.tensor([[1 + place % 60 for place in range(100)]])

    how = {"do_sample": False, "use_cache": True, "pad_token_id": 0}

    @torch.no_grad()
    def write() -> None:
        model.generate(prompt, max_new_tokens=CHARACTERS, **how)

    return lambda: seconds_each(write, 1) / CHARACTERS


def main(repeats: int) -> None:
    """Measure all variants in turns and print a table."""
    commands = {name: [__file__, "--variant", name] for name in VARIANTS}
    print(table(measure(commands, repeats), VARIANTS[0], "character"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--variant"]:
        run_variant(sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
