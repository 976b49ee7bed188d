"""What do a validation and an evaluation cost, for splits of any size?

    python benchmarks/held_out.py [--sizes 10M --sizes 100M] [--folder FOLDER]

makes texts whose validation and test splits have these sizes, and prints for each, with a tiny
model and in a process of its own: the seconds of a validation during a run, best of three, and of
one of the whole split; seconds and peak memory of an evaluation. `train.eval_characters` and
`evaluate.max_characters` bound them.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.large_text import parse_size, write

SHAPE = {"d_model": 32, "num_heads": 1, "num_layers": 1, "d_ff": 64, "sequence_length": 128}
TRIALS = 3


def make_tokens(size: int, folder: Path) -> Path:
    """Write a text, and its tokens: as many bytes for val and for test, half of that for train."""
    from tinyllm.corpus.config import PrepareConfig
    from tinyllm.corpus.prepare import prepare_corpus
    from tinyllm.tokens.config import TokenizeConfig
    from tinyllm.tokens.encode import tokenize_corpus

    write(size * 5 // 2, folder / "text.txt", "ascii")
    config = PrepareConfig(source=str(folder / "text.txt"), val_fraction=0.4, test_fraction=0.4)
    prepare_corpus(config, folder / "prepared")
    tokenize_corpus(TokenizeConfig(), folder / "prepared", folder / "tokens")
    return folder / "tokens"


def validate(tokens: Path) -> dict[str, float]:
    """Seconds of a validation during a run, and of one of the whole split."""
    from tinyllm.kernels.config import NumericsConfig
    from tinyllm.kernels.numerics import setup_numerics

    arithmetic = setup_numerics(NumericsConfig())
    from tinyllm.model.config import ModelConfig
    from tinyllm.tokens.windows import load_token_data
    from tinyllm.training.config import TrainingConfig
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training
    from tinyllm.training.validation import evaluate

    def seconds(characters: int, trials: int) -> float:
        training = TrainingConfig(eval_characters=characters)
        run = set_up_training(data, Recipe(ModelConfig(**SHAPE), training), arithmetic)
        found = []
        for _ in range(trials):
            since = time.perf_counter()
            evaluate(run.model, run.val_loader, arithmetic)
            found.append(time.perf_counter() - since)
        return min(found)

    data = load_token_data(tokens)
    bounded = TrainingConfig().eval_characters
    # the first one also loads and chooses kernels
    seconds(bounded, 1)
    return {"bounded": seconds(bounded, TRIALS), "whole": seconds(0, 1)}


def evaluate_split(tokens: Path) -> dict[str, float]:
    """Seconds and peak memory of an evaluation with a model of random weights."""
    from tinyllm.kernels.config import NumericsConfig
    from tinyllm.kernels.numerics import setup_numerics

    arithmetic = setup_numerics(NumericsConfig())
    from tinyllm.evaluation.config import EvaluateConfig
    from tinyllm.evaluation.report import evaluate_checkpoint
    from tinyllm.inference.checkpoint import Checkpoint
    from tinyllm.model.config import ModelConfig
    from tinyllm.model.transformer import Transformer
    from tinyllm.tokens.tokenizer import load_tokenizer

    tokenizer, shape = load_tokenizer(tokens / "tokenizer.json"), ModelConfig(**SHAPE)
    weights = Transformer(shape, tokenizer.vocab_size).state_dict()
    checkpoint = Checkpoint.from_weights(weights, shape, tokenizer, arithmetic)
    config = EvaluateConfig(prompts=["a"], sample_length=10)
    since = time.perf_counter()
    evaluate_checkpoint(config, checkpoint, tokens, tokens.parent / "report", arithmetic)
    seconds = time.perf_counter() - since
    # kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return {"seconds": seconds, "megabytes": peak}


PARTS = {"validate": validate, "evaluate": evaluate_split}


def measure(part: str, tokens: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, f"--part={part}", f"--folder={tokens}"]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, float] = json.loads(printed.splitlines()[-1])
    return found


@click.command()
@click.option("--sizes", multiple=True, default=["10M", "100M"], help="Bytes of each split.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to keep the texts.")
@click.option("--part", type=click.Choice([*PARTS]), hidden=True)
def main(sizes: list[str], folder: Path | None, part: str | None) -> None:
    """Measure validation and evaluation for splits of some sizes."""
    if part and folder:
        print(json.dumps(PARTS[part](folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        places = {size: (folder or Path(temporary)) / size for size in sizes}
        for size, place in places.items():
            if not (place / "tokens").exists():
                place.mkdir(parents=True)
                make_tokens(parse_size(size), place)
        for size, place in places.items():
            validated = measure("validate", place / "tokens")
            evaluated = [measure("evaluate", place / "tokens") for _ in range(TRIALS)]
            print(
                f"{size}: validation {validated['bounded']:.2f} s, of the whole split "
                f"{validated['whole']:.2f} s; evaluation "
                f"{min(each['seconds'] for each in evaluated):.1f} s, "
                f"{min(each['megabytes'] for each in evaluated):.0f} MB"
            )


if __name__ == "__main__":
    main()
