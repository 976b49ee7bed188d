# For type checkers and editors: the names that `__init__.py` imports on demand.
from tinyllm.app.watch.bar import ProgressBar as ProgressBar
from tinyllm.base.errors import TinyLLMError as TinyLLMError
from tinyllm.corpus.read import load_text as load_text
from tinyllm.formats.load import load_model as load_model
from tinyllm.inference.checkpoint import Checkpoint as Checkpoint
from tinyllm.inference.config import SamplingConfig as SamplingConfig
from tinyllm.inference.generate import generate_text as generate_text
from tinyllm.inference.generate import stream_text as stream_text
from tinyllm.kernels.config import NumericsConfig as NumericsConfig
from tinyllm.kernels.numerics import setup_numerics as setup_numerics
from tinyllm.model.checkpoint import save_checkpoint as save_checkpoint
from tinyllm.model.config import ModelConfig as ModelConfig
from tinyllm.model.transformer import Transformer as Transformer
from tinyllm.tokens.byte_level import ByteTokenizer as ByteTokenizer
from tinyllm.tokens.byte_pairs import BytePairTokenizer as BytePairTokenizer
from tinyllm.tokens.characters import CharacterTokenizer as CharacterTokenizer
from tinyllm.tokens.loaders import build_dataloaders as build_dataloaders
from tinyllm.tokens.windows import OptimizedTextDataset as OptimizedTextDataset
from tinyllm.tokens.windows import TokenData as TokenData
from tinyllm.training.config import TrainingConfig as TrainingConfig
from tinyllm.training.recipe import Recipe as Recipe
from tinyllm.training.run import run_training as run_training
from tinyllm.training.validation import evaluate as evaluate

__all__ = [
    "BytePairTokenizer",
    "ByteTokenizer",
    "CharacterTokenizer",
    "Checkpoint",
    "ModelConfig",
    "NumericsConfig",
    "OptimizedTextDataset",
    "ProgressBar",
    "Recipe",
    "SamplingConfig",
    "TinyLLMError",
    "TokenData",
    "TrainingConfig",
    "Transformer",
    "build_dataloaders",
    "evaluate",
    "generate_text",
    "load_model",
    "load_text",
    "run_training",
    "save_checkpoint",
    "setup_numerics",
    "stream_text",
]
__version__: str
