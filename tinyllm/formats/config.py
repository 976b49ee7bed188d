"""Hyperparameters of the export stage."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from tinyllm.base.section import Section

Format = Literal["huggingface", "onnx", "gguf", "pyfunc", "playground"]
Precision = Literal["f32", "f16", "q8_0"]
Runtime = Literal["transformers", "onnxruntime", "llama.cpp"]


class ExportConfig(Section):
    """Which formats to write, and which programs must agree with the model."""

    section: ClassVar[str] = "export"

    formats: list[Format] = Field(
        ["huggingface", "onnx", "gguf", "pyfunc", "playground"],
        min_length=1,
        description="formats to write: huggingface, onnx, gguf, pyfunc, playground",
    )
    gguf_precisions: list[Precision] = Field(
        ["f32", "f16", "q8_0"],
        min_length=1,
        description="one GGUF file for each: f32, f16, q8_0",
    )
    verify_with: list[Runtime] = Field(
        ["transformers", "onnxruntime"],
        min_length=1,
        description="programs that must open and agree: transformers, onnxruntime, llama.cpp",
    )
    skip_missing: bool = Field(
        False, description="export unverified if one of these programs is not installed"
    )

    model_name: str = Field(
        "tinyllm",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$",
        description="name of the model in its card and files",
    )
    license: str = Field(
        "",
        pattern=r"^[a-z0-9][a-z0-9.-]*$|^$",
        description="licence of the model, by its name on the Hub such as mit; empty: not stated",
    )
    author: str = Field(
        "", max_length=200, pattern=r"^[^\n\r]*$", description="who made the model; may be empty"
    )
    languages: list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]] = Field(
        [], description="languages of the text, as codes of ISO 639 such as en"
    )

    @field_validator("formats", "gguf_precisions", "verify_with", "languages")
    @classmethod
    def _check_each_once(cls, names: list[str]) -> list[str]:
        twice = [name for place, name in enumerate(names) if name in names[:place]]
        if twice:
            raise ValueError(f"holds {twice[0]} twice")
        return names
