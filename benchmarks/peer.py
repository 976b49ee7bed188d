"""How soon a loss is reached, against the well-known small recipe for CPUs (nanoGPT's).

    python benchmarks/peer.py TEXT [REPEATS]

TEXT is Tiny Shakespeare, which is not part of this repository. The peer has GPT-2's shape with 4
layers, 4 heads, 128 wide, a context of 64; batches of 12; AdamW at 1e-3 with betas 0.9 and 0.99
and weight decay 0.1, 100 steps of warm-up, a cosine to 1e-4, gradients clipped at 1, no dropout;
2,000 steps end at a validation loss near 1.88. It is Hugging Face's `GPT2LMHeadModel`, trained by
their `Trainer`, and by a bare loop of the same arithmetic. All its steps cost the same, so its time
is 2,000 times that of one step, measured in turns of 30. Ours is timed completely, counting the
n-grams of its teacher included: the preset `shakespeare-cpu`, which must end at 1.88 or lower on
the full validation split. Then the preset `shakespeare-98s` shows the loss after the peer's time.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.interleave import ROOT, measure, seconds_each, serve

STEPS, TURN, LOSS = 2000, 30, 1.88
THREADS = 2
PEERS = ("GPT-2, Trainer", "GPT-2, bare loop")
OURS = ("portable", "fast")
EQUAL = "shakespeare-98s"


def read_tokens(text: Path):
    """Tokens of the first nine tenths and of the last tenth, and the number of tokens."""
    import numpy as np

    characters = text.read_text(encoding="utf-8")
    alphabet = {character: i + 1 for i, character in enumerate(sorted(set(characters)))}
    tokens = np.array([alphabet[character] for character in characters], dtype=np.uint8)
    cut = round(0.9 * len(tokens))
    return tokens[:cut], tokens[cut:], len(alphabet) + 1


def gpt2(vocab_size: int):
    """The peer's model."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, logging

    logging.set_verbosity_error()
    torch.set_num_threads(THREADS)
    torch.manual_seed(1337)
    nothing = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab_size,
            n_positions=64,
            n_embd=128,
            n_layer=4,
            n_head=4,
            bos_token_id=None,
            eos_token_id=None,
            **nothing,
        )
    ).train()


def decayed_groups(model):
    """Weight decay for matrices only, as in the recipe."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]


def bare_loop(text: Path):
    """One step of the peer in a bare loop."""
    import torch
    from torch.nn import functional as F

    train, _, vocab_size = read_tokens(text)
    tokens = torch.from_numpy(train.astype("int64"))
    model = gpt2(vocab_size)
    optimizer = torch.optim.AdamW(decayed_groups(model), lr=1e-3, betas=(0.9, 0.99), fused=True)
    done = 0

    def step() -> None:
        nonlocal done
        warm = min(1.0, (done + 1) / 100)
        fallen = 0.5 * (1 + math.cos(math.pi * max(0, done - 100) / (STEPS - 100)))
        for group in optimizer.param_groups:
            group["lr"] = warm * (1e-4 + fallen * 9e-4)
        done += 1
        starts = torch.randint(len(tokens) - 64, (12,))
        windows = torch.stack([tokens[start : start + 65] for start in starts])
        logits = model(input_ids=windows[:, :-1]).logits
        loss = F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return lambda: seconds_each(step, TURN)


def trainer_loop(text: Path):
    """The peer with transformers' Trainer, a short run per turn."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    train, _, vocab_size = read_tokens(text)
    tokens = torch.from_numpy(train.astype("int64"))
    model = gpt2(vocab_size)

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(tokens) - 64

        def __getitem__(self, start: int):
            window = tokens[start : start + 64]
            return {"input_ids": window, "labels": window}

    def work() -> float:
        with tempfile.TemporaryDirectory() as folder:
            how = TrainingArguments(
                folder,
                max_steps=TURN,
                per_device_train_batch_size=12,
                learning_rate=1e-3,
                adam_beta2=0.99,
                weight_decay=0.1,
                warmup_steps=10,
                lr_scheduler_type="cosine",
                max_grad_norm=1.0,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            )
            trainer = Trainer(model=model, args=how, train_dataset=Windows())
            trainer.remove_callback(PrinterCallback)
            since = time.perf_counter()
            trainer.train()
            return (time.perf_counter() - since) / TURN

    return work


def ours(mode: str, text: Path):
    """The whole run of the preset; validation is not timed."""
    train_preset = preset("shakespeare-cpu", mode, text)

    def work() -> float:
        seconds, training, arithmetic = train_preset()
        from tinyllm.training.validation import evaluate

        loss = evaluate(training.model, training.val_loader, arithmetic)
        print(f"{mode}: validation loss {loss:.4f}, {seconds:.2f} s", file=sys.stderr)
        if loss > LOSS:
            raise SystemExit(f"{mode} ended at {loss:.4f}, above {LOSS}")
        return seconds

    return work


def preset(name: str, mode: str, text: Path):
    """A function that trains a preset from scratch: seconds, the run, its arithmetic."""
    from tinyllm.app.params import load_params
    from tinyllm.kernels.numerics import setup_numerics

    params = load_params(ROOT / "presets" / f"{name}.yaml")
    numerics = {"mode": mode, "threads": THREADS, "device": "cpu"}
    arithmetic = setup_numerics(params["numerics"].model_copy(update=numerics))
    from tinyllm.tokens.windows import TokenData
    from tinyllm.training.loop import take_step
    from tinyllm.training.recipe import Recipe
    from tinyllm.training.run import set_up_training

    data = TokenData(*read_tokens(text))
    recipe = Recipe(params["model"], params["train"], params["numerics"])

    def work():
        since = time.perf_counter()
        training = set_up_training(data, recipe, arithmetic)
        training.model.train()
        while training.progress.step < training.config.max_steps:
            take_step(training)
            training.progress.step += 1
        return time.perf_counter() - since, training, arithmetic

    return work


def equal_time(text: Path) -> None:
    """Train the preset for the peer's time once, and print the result."""
    seconds, training, arithmetic = preset(EQUAL, "fast", text)()
    from tinyllm.training.validation import evaluate

    loss = evaluate(training.model, training.val_loader, arithmetic)
    window, tokens = training.model.config.sequence_length, read_tokens(text)[1]
    print(f"{EQUAL}, fast: {seconds:.1f} s, validation loss {loss:.4f}")
    for stride in (window // 2, window // 4):
        overlapping = overlapping_loss(training.model, tokens, stride)
        before = window - stride
        print(f"{overlapping:.4f} where windows overlap, at least {before} before each character")


def overlapping_loss(model, tokens, stride: int) -> float:
    """Loss on a split, each character predicted once, among the last `stride` of a window."""
    import torch
    from torch.nn import functional as F

    window = model.config.sequence_length
    text = torch.from_numpy(tokens.astype("int64"))
    windows = text.unfold(0, window + 1, stride)
    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for first, chunk in enumerate(windows.split(64)):
            logits = model(chunk[:, :-1].contiguous())
            losses = F.cross_entropy(logits.mT, chunk[:, 1:].contiguous(), reduction="none")
            scored = [losses[:, -stride:]] + ([losses[0, :-stride]] if not first else [])
            total += sum(part.double().sum().item() for part in scored)
            count += sum(part.numel() for part in scored)
    return total / count


def prepare(variant: str, text: Path):
    """The work of a program in each turn."""
    if variant == PEERS[0]:
        return trainer_loop(text)
    if variant == PEERS[1]:
        return bare_loop(text)
    return ours(variant, text)


def start_up(variant: str, text: str) -> float:
    """Seconds from the start of the program to its first step."""
    since = time.perf_counter()
    command = [sys.executable, __file__, "--start", variant, text]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - since


def main(text: str, repeats: int) -> None:
    """Measure all in turns and print a table."""
    commands = {name: [__file__, "--variant", name, text] for name in PEERS + OURS}
    seconds = measure(commands, repeats)
    starts = {name: start_up(name, text) for name in PEERS + OURS}
    totals = {
        name: [STEPS * turn if name in PEERS else turn for turn in turns]
        for name, turns in seconds.items()
    }
    peer = min(PEERS, key=lambda name: statistics.median(totals[name]))
    print(
        f"| to a validation loss of {LOSS} | s, median | least | most | {peer} is x | with start |"
    )
    print("|---|---|---|---|---|---|")
    for name, turns in totals.items():
        ratio = statistics.median(a / b for a, b in zip(totals[peer], turns, strict=True))
        whole = statistics.median(turns) + starts[name]
        peers_whole = statistics.median(totals[peer]) + starts[peer]
        print(
            f"| {name} | {statistics.median(turns):.1f} | {min(turns):.1f} | {max(turns):.1f} | "
            f"{ratio:.1f} | {whole:.1f} s, x {peers_whole / whole:.1f} |"
        )
    print(f"\nIn the time of {peer}, {statistics.median(totals[peer]):.1f} s:", flush=True)
    subprocess.run([sys.executable, __file__, "--equal", text], cwd=ROOT, check=True)


if __name__ == "__main__":
    if sys.argv[1] == "--variant":
        serve(prepare(sys.argv[2], Path(sys.argv[3])))
    elif sys.argv[1] == "--equal":
        equal_time(Path(sys.argv[2]))
    elif sys.argv[1] == "--start":
        prepare(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
