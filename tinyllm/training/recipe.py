"""Everything that determines the weights of a run, and its fingerprint."""

from dataclasses import dataclass, field
from pathlib import Path

import tinyllm
from tinyllm.base.errors import ConfigError
from tinyllm.base.files import fingerprint
from tinyllm.base.section import Section
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

# the packages and the files of the tokenize stage that can change a weight
_CODE = ("base", "tokens", "model", "kernels", "training")
_DATA = ("train-*.bin", "val-*.bin", "tokenizer.json")


@dataclass(frozen=True)
class Recipe:
    """The config of the model, its training and its arithmetic."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    numerics: NumericsConfig = field(default_factory=NumericsConfig)

    def sections(self) -> dict[str, Section]:
        """The sections of params.yaml that it consists of, by name."""
        return {s.section: s for s in (self.model, self.training, self.numerics)}

    def check_processes(self) -> None:
        """Check that the processes can share a batch evenly.

        Raises:
            ConfigError: they cannot.
        """
        steps, processes = self.training.gradient_accumulation_steps, self.numerics.processes
        if self.numerics.mode == "portable" and steps % processes:
            raise ConfigError(
                f"numerics.processes ({processes}) must divide train.gradient_accumulation_steps "
                f"({steps}) evenly; only in mode 'fast' do they share the windows of a step."
            )
        if (windows := self.training.batch_size * steps) % processes:
            raise ConfigError(
                f"numerics.processes ({processes}) must divide the windows of a step evenly, "
                f"train.batch_size times train.gradient_accumulation_steps ({windows})."
            )

    def fingerprint(self, tokens: Path, *, with_seed: bool = True) -> str:
        """A hash of params, token files and code.

        Runs with the same fingerprint end with the same weights, so they are one run.

        Args:
            tokens: the folder of the tokenize stage.
            with_seed: whether the seed counts.
        """
        params = {
            "model": self.model.model_dump(),
            "train": self.training.model_dump(exclude=set() if with_seed else {"seed"}),
            "numerics": self.numerics.decisive(),
        }
        package = Path(tinyllm.__file__).parent
        files = {file.name: file for pattern in _DATA for file in tokens.glob(pattern)}
        for room in _CODE:
            files |= {f"{room}/{file.name}": file for file in (package / room).glob("*.py")}
        return fingerprint(params, files)
