"""Hyperparameters of the export stage."""

from typing import ClassVar, Literal

from pydantic import Field

from tinyllm.base.section import Section

Format = Literal["huggingface", "onnx", "gguf", "pyfunc", "playground"]
# the packages that each format needs
PACKAGES: dict[str, tuple[str, ...]] = {
    "huggingface": (),
    "onnx": ("onnx",),
    "gguf": ("gguf",),
    "pyfunc": ("mlflow", "onnx", "onnxruntime"),
    "playground": (),
}
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
