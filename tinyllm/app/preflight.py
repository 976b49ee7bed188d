"""What can be known before the first stage computes: it is checked then, for all stages."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tinyllm.app.logger import get_logger
from tinyllm.base.errors import ConfigError, TinyLLMError
from tinyllm.base.files import repository_root
from tinyllm.base.section import Section
from tinyllm.corpus.config import PrepareConfig
from tinyllm.corpus.listing import list_corpus
from tinyllm.corpus.source import is_address
from tinyllm.evaluation.config import EvaluateConfig
from tinyllm.formats.config import ExportConfig
from tinyllm.formats.requirements import what_is_possible
from tinyllm.kernels.config import NumericsConfig
from tinyllm.kernels.machine import hindrance, possible_here
from tinyllm.model.config import ModelConfig
from tinyllm.tokens.config import TokenizeConfig
from tinyllm.tokens.meta import read_meta
from tinyllm.training.config import TrainingConfig
from tinyllm.training.launch import processes_here, rank_of_this_process
from tinyllm.training.memory import count_weights, estimate_memory

# stages before which everything is checked: the first, and the one that takes long
_BEFORE = ("prepare", "train")
# as long as the tokens are not known
_TOKENS = 256
# what the tokenize stage of the pipeline writes
_WRITTEN = Path("data/tokens")
# a weight in working checkpoints, exports, caches and the store
_DISK_PER_WEIGHT = 60
# a byte of the corpus in splits, tokens and caches
_DISK_PER_BYTE = 3
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_log = get_logger(__name__)


@dataclass(frozen=True)
class _Params:
    """The sections by type."""

    prepare: PrepareConfig
    model: ModelConfig
    training: TrainingConfig
    numerics: NumericsConfig
    evaluate: EvaluateConfig
    export: ExportConfig
    tokenize: TokenizeConfig

    @property
    def vocab_size(self) -> int:
        """How many tokens there will be, about."""
        return self.tokenize.vocab_size if self.tokenize.kind == "bpe" else _TOKENS


def check_everything(sections: Mapping[str, Section], stage: str) -> None:
    """Check what a stage and all later ones need.

    Args:
        sections: of params.yaml, each valid.
        stage: that is about to start.

    Raises:
        TinyLLMError: something is missing, or would not suffice.
    """
    if stage not in _BEFORE:
        return
    params = _by_type(sections)
    _check_packages(params)
    size = _corpus_size(params)
    _check_length(params, size)
    vocab_size = _vocab_size(params) if stage == "train" else params.vocab_size
    # one process of several says it
    told = stage == "train" and rank_of_this_process() == 0
    _check_memory(params, vocab_size, told=told)
    _check_disk(params, vocab_size, size)
    if told:
        _check_prompts(params)
        _tell_arithmetic(params.numerics)


def memory_limit() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's."""
    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        try:
            limits.append(int(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):
            # no such file, or "max"
            continue
    return min(limits)


def _by_type(sections: Mapping[str, Section]) -> _Params:
    keys = ("prepare", "model", "train", "numerics", "evaluate", "export", "tokenize")
    return _Params(*(sections[key] for key in keys))  # type: ignore[arg-type]  # by their names


def _check_packages(params: _Params) -> None:
    """Raise `TinyLLMError` if the export stage would lack a package."""
    what_is_possible(params.export)


def _corpus_size(params: _Params) -> int:
    """Bytes of text, 0 if that is not known: of a remote, compressed or missing corpus."""
    if is_address(params.prepare.source):
        return 0
    try:
        files, _ = list_corpus(params.prepare)
    except TinyLLMError:
        # the prepare stage says so
        return 0
    plain = all(file.kind == "text" and not file.compression for file in files)
    return sum(file.size for file in files) if plain else 0


def _check_length(params: _Params, size: int) -> None:
    """Raise `ConfigError` if no split can hold a window: a token takes a byte at least."""
    shares = {"val": params.prepare.val_fraction, "test": params.prepare.test_fraction}
    # each once, in the same order in every process
    for split in dict.fromkeys(("val", params.evaluate.split)):
        most, length = int(size * shares[split]) + 1, params.model.sequence_length
        if size and most <= length:
            raise ConfigError(
                f"The corpus at {params.prepare.source} has {size:,} bytes, of which the {split} "
                f"split gets at most {most:,}, fewer than one window of model.sequence_length = "
                f"{length} and its next token; add text, raise prepare.{split}_fraction, or "
                f"lower model.sequence_length."
            )


def _vocab_size(params: _Params) -> int:
    """The number of tokens that the tokenize stage has just written."""
    try:
        return read_meta(_WRITTEN).vocab_size
    except TinyLLMError:
        return params.vocab_size


def _check_memory(params: _Params, vocab_size: int, *, told: bool) -> None:
    """Raise `ConfigError` if the training would not fit into memory."""
    if params.numerics.device in ("cuda", "mps"):
        return
    needed = estimate_memory(params.model, params.training, vocab_size)
    needed *= processes_here(params.numerics)
    limit = memory_limit()
    if needed > limit:
        raise ConfigError(
            f"Training needs about {_gigabytes(needed)} of memory, and there are "
            f"{_gigabytes(limit)} ({vocab_size:,} tokens); lower train.batch_size, "
            f"model.sequence_length, model.d_model, model.d_ff or model.num_layers."
        )
    if told:
        _log.info(
            "%s weights; training needs about %s of memory.",
            f"{count_weights(params.model, vocab_size):,}",
            _gigabytes(needed),
        )


def _check_disk(params: _Params, vocab_size: int, size: int) -> None:
    """Raise `TinyLLMError` if what the pipeline writes would not fit onto the disk."""
    weights = count_weights(params.model, vocab_size)
    needed = weights * _DISK_PER_WEIGHT + size * _DISK_PER_BYTE
    free = shutil.disk_usage(repository_root()).free
    if needed > free:
        raise TinyLLMError(
            f"The pipeline writes about {_gigabytes(needed)} below {repository_root()}, where "
            f"{_gigabytes(free)} are free; make room, or choose a smaller model."
        )


def _check_prompts(params: _Params) -> None:
    """Warn about characters of prompts that the model will not know."""
    # the one that the tokenize stage has just written
    from tinyllm.tokens.tokenizer import load_tokenizer

    try:
        tokenizer = load_tokenizer(_WRITTEN / "tokenizer.json")
    except TinyLLMError:
        return
    for prompt in params.evaluate.prompts:
        if unknown := tokenizer.unknown(prompt):
            _log.warning(
                "evaluate.prompts holds %r, but the training text has no %s: the model reads "
                "<unk> there.",
                prompt,
                " ".join(map(repr, unknown)),
            )


def _tell_arithmetic(numerics: NumericsConfig) -> None:
    """Say what it means that this machine cannot compute portably."""
    if possible_here(numerics) != numerics:
        _log.warning(
            "This machine (%s) cannot write the portable bytes of dvc.lock, so the run uses "
            "numerics.mode=fast: the figures agree within the noise of a seed, the bytes do not; "
            "'tinyllm verify' compares them statistically.",
            hindrance(),
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e11 else f"{size / 1e9:,.0f} GB"
