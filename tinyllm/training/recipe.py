"""Everything that decides what a run learns, in one piece, and the name that follows from it."""

from dataclasses import dataclass, field
from pathlib import Path

import tinyllm
from tinyllm.base.files import fingerprint
from tinyllm.base.section import Section
from tinyllm.kernels.config import NumericsConfig
from tinyllm.model.config import ModelConfig
from tinyllm.training.config import TrainingConfig

# the rooms whose code can change a weight, and the files of the tokenize stage that do
_CODE = ("base", "tokens", "model", "kernels", "training")
_DATA = ("train.bin", "val.bin", "tokenizer.json")


@dataclass(frozen=True)
class Recipe:
    """The model's shape, how it is trained, and in which arithmetic."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    numerics: NumericsConfig = field(default_factory=NumericsConfig)

    def sections(self) -> dict[str, Section]:
        """The sections of params.yaml that it is made of, by their names."""
        return {s.section: s for s in (self.model, self.training, self.numerics)}

    def fingerprint(self, tokens: Path, *, with_seed: bool = True) -> str:
        """A name for the weights, from params, token files and code.

        Two runs of equal fingerprint find equal weights, so they are one run.

        Args:
            tokens: the folder of the tokenize stage.
            with_seed: whether runs that differ by the seed alone get different names.
        """
        params = {
            "model": self.model.model_dump(),
            "train": self.training.model_dump(exclude=set() if with_seed else {"seed"}),
            "numerics": self.numerics.decisive(),
        }
        package = Path(tinyllm.__file__).parent
        files = {name: tokens / name for name in _DATA}
        for room in _CODE:
            files |= {f"{room}/{file.name}": file for file in (package / room).glob("*.py")}
        return fingerprint(params, files)
