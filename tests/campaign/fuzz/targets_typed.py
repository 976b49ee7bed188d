"""Targets: what people and programs type and send: spaces, prompts, requests, lines, options."""

from typing import Any

from tests.campaign.fuzz import good
from tests.campaign.fuzz.draw import Draw
from tests.campaign.fuzz.target import target

_SPACES = (b"log(", b"uniform(", b"[", b"model.d_model=", b"train.learning_rate=", b"nan", b"inf")


@target(
    b"train.learning_rate=log(0.1,1)", b"model.d_model=[32,64]", b"model.num_layers=uniform(1,9,2)",
    b"train.optimizer=[muon]", words=_SPACES, share=2.0,
)  # fmt: skip
def space(data: bytes) -> None:
    """A search space, and a point of it."""
    from tinyllm.app.experiments.space import check_point, override, parse_space

    texts = data.decode("utf-8", "surrogateescape").split("\n")
    axes = parse_space(texts)
    for axis in axes:
        value = axis.choices[0] if axis.choices else axis.low
        override(axis.key, value)
        check_point({}, {axis.key: value})


@target(b"\0a b", b"\0${x}'\\", b"\1\7", b"\0a,b=[c]", words=(b"${", b"'", b"\\", b"[", b",", b"="))
def overrides(data: bytes) -> None:
    """A value on its way to `dvc exp run -S`, as DVC reads it there."""
    from dvc.utils.hydra import to_hydra_overrides
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from omegaconf import OmegaConf

    from tinyllm.app.experiments.space import override

    draw = Draw(data)
    kind = draw.byte() % 3
    # words of a command hold no NUL, and params.yaml is UTF-8
    text = draw.text().replace("\0", "").encode("utf-8", "replace").decode()
    value: Any = text
    if kind == 1:
        value = [part for part in text.split("|") if part]
    elif kind == 2:
        value = draw.choose((1, -3, 0.5, 1e-05, 1e22, True, False, None))
    config = OmegaConf.create({"prepare": {}}, flags={"allow_objects": True})
    OmegaConf.set_struct(config, True)
    parsed = to_hydra_overrides([override("prepare.source", value)])
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
    found = OmegaConf.to_object(config)["prepare"]["source"]
    assert found == value, f"{value!r} became {found!r}"
    assert type(found) is type(value), f"{value!r} became {found!r}"


@target(b"\0one\ntwo", b'\1{"prompt": "a"}\n', b'\1{"prompt": 3}', b"\1[", share=2.0)
def prompts(data: bytes) -> None:
    """A file of prompts."""
    from tinyllm.app.prompts import read_prompts

    draw = Draw(data)
    path = good.scratch() / ("prompts.jsonl" if draw.byte() & 1 else "prompts.txt")
    path.write_bytes(draw.rest())
    for text in read_prompts(path):
        assert isinstance(text, str)


@target(b"\1\0\1a", b"\2\3\5\50", share=0.5)
def requests(data: bytes) -> None:
    """What the served model is asked, after MLflow has read it."""
    import pandas as pd
    from mlflow.exceptions import MlflowException

    from tinyllm.formats.pyfunc_model import ServedLanguageModel
    from tinyllm.inference.config import SamplingConfig
    from tinyllm.inference.request import ServeConfig

    draw = Draw(data)
    served = ServedLanguageModel()
    served.model, served.limits = good.checkpoint(), ServeConfig()
    texts = [draw.word().encode("utf-8", "replace").decode() for _ in range(draw.byte() % 4)]
    asked = {
        draw.choose(list(SamplingConfig.model_fields)): draw.value() for _ in range(draw.byte() % 4)
    }
    asked["max_new_tokens"] = draw.choose([1, 3, 0, -1, "x", None])
    given = pd.DataFrame({"prompt": pd.Series(texts, dtype=object)})
    try:
        answer = served.predict(None, given, asked)
    except MlflowException as error:
        # the only one that becomes an answer of 400
        assert error.error_code == "INVALID_PARAMETER_VALUE", error  # noqa: PT017  # outside of pytest
        return
    pairs = zip(answer["text"], texts, strict=True)
    assert all(text.startswith(prompt) for text, prompt in pairs)


@target(b"/temp 0\nabc", b"/topk -1\n/info", b"/seed 99999999999999999999", b"/load x", share=0.5)
def console(data: bytes) -> None:
    """Lines typed into the console."""
    from tinyllm.app.console import TinyLLMConsole
    from tinyllm.base.errors import TinyLLMError
    from tinyllm.inference.config import SamplingConfig

    def load(name: str) -> Any:
        raise TinyLLMError(f"There is no {name}.")

    shown: list[str] = []
    few = {"max_new_tokens": 2}
    opened = TinyLLMConsole(good.checkpoint(), "here", load, SamplingConfig(**few), shown.append)
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        if not opened.handle(line):
            break
        opened.sampling = opened.sampling.model_copy(update=few)


_FLAGS = (
    ("tokenize", "--min-count", ("--prepared", "absent", "--out", "out")),
    ("prepare", "--val-fraction", ("--source", "absent", "--out", "out")),
    ("prepare", "--encoding", ("--source", "absent", "--out", "out")),
    ("prepare", "--unicode-form", ("--source", "absent", "--out", "out")),
    ("prepare", "--source", ("--out", "out")),
    ("tokenize", "--prepared", ("--out", "out")),
    ("generate", "--temperature", ("a", "--model", "absent")),
    ("generate", "--stop", ("a", "--model", "absent")),
    ("generate", "--model", ("a",)),
    ("generate", "--prompts", ("--model", "absent")),
    ("generate", "--batch-size", ("a", "--model", "absent")),
    ("summary", "--reports", ()),
    ("significance", "--metric", ("a", "b")),
)


@target(b"\0005", b"\1nan", b"\6-1", b"\0101e9", b"\4/", share=0.5)
def flags(data: bytes) -> None:
    """Values of options; anything but a sentence is a fault, however it was caught."""
    from click.testing import CliRunner

    from tinyllm.app.cli import main
    from tinyllm.base.files import working_folder

    draw = Draw(data)
    command, flag, others = draw.choose(_FLAGS)
    value = draw.text().replace("\0", "")
    # a device that never ends is a case of its own
    if not value or value.lstrip().startswith(("/dev", "/proc", "/sys")):
        return
    words = [f"{flag}={value}"] if len(value) % 2 else [flag, value]
    # where the outermost barrier keeps what nobody foresaw
    log = working_folder() / "logs/errors.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    result = CliRunner().invoke(main, [command, *others, *words], input="")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in (0, 1, 2), result.exit_code
    assert not log.exists(), log.read_text(encoding="utf-8")[-400:]
