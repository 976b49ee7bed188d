"""Hyperparameters of the prepare stage."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tinyllm.base.section import Section


class PrepareConfig(Section):
    """How raw text is read, cleaned and split."""

    section: ClassVar[str] = "prepare"

    source: str = Field(
        "data/raw/sample",
        min_length=1,
        description="text file, or folder of them; here, or at an address such as s3://bucket/key",
    )
    pattern: str = Field("*.txt", min_length=1, description="files taken from a folder, recursive")
    encoding: str = Field(
        "utf-8", min_length=1, description="encoding of the source; 'detect' guesses it per file"
    )
    text_column: str = Field(
        "text", min_length=1, description="where the text is in records of JSON Lines and Parquet"
    )
    normalize_newlines: bool = Field(True, description="turn CRLF and CR into LF")
    unicode_form: Literal["NFC", "NFD", "NFKC", "NFKD", "none"] = Field(
        "NFC", description="Unicode normalization form"
    )
    strip_gutenberg: bool = Field(
        False, description="drop the header and licence around a book of Project Gutenberg"
    )
    strip_stage_directions: bool = Field(
        False, description="drop [bracketed] stage directions and lines such as 'Exeunt.'"
    )
    strip_headings: bool = Field(False, description="drop lines such as 'ACT I. SCENE II. A hall.'")
    collapse_blank_lines: bool = Field(True, description="turn runs of blank lines into one")
    split_by: Literal["file", "corpus", "lines"] = Field(
        "file",
        description="cut each file, or the joined corpus, into train, val and test; or deal out "
        "the lines of each file, for lists in some order",
    )
    val_fraction: float = Field(0.1, gt=0, lt=1, description="share of characters to validate on")
    test_fraction: float = Field(0.1, ge=0, lt=1, description="share of characters to test on")

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError("val_fraction + test_fraction must stay below 1")
        return self
