"""The settings of a recipe's data, with their types, defaults and ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    field_validator,
)

from encore.errors import format_given
from encore.recipe import fields
from encore.recipe.fields import refuse
from encore.types import DEFAULTS

__all__ = ["Count", "DataRecipe", "RecipeSection", "Text"]


class RecipeSection(BaseModel):
    """A part of a recipe: frozen, strict, without unknown settings."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
    )


Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1), AfterValidator(fields.require_countable)]


class DataRecipe(RecipeSection):
    """The source of the rows. Nothing set: the named task of the task's name. Paths are relative
    to the recipe's folder.
    """

    train: Text | None = None
    dev: Annotated[str | dict[str, str] | None, PlainValidator(fields.parse_dev_sets)] = (
        None  # None: a part of the train file
    )
    test: Text | None = None  # opened by `evaluate --final` only
    text: Text | None = None  # column names; None: inferred and announced
    text_pair: Text | None = None
    negative: Text | None = None  # of an unlabelled task: a text that does not belong to `text`
    label: Text | None = None
    group: Text | None = None  # rows with the same value belong together: no split parts them
    kind: Literal["binary", "multiclass", "multilabel", "regression", "unlabelled"] | None = None
    labels: Annotated[
        tuple[str, ...] | dict[str, str] | None, PlainValidator(fields.parse_label_names)
    ] = None
    # Labels have an order, as stars have; None: by the name of their column.
    ordered: bool | None = None
    label_separator: Annotated[str, PlainValidator(fields.parse_separator)] = ";"
    merge_labels: bool = False  # spellings that differ in capitals and blanks are one label
    dev_frac: Annotated[float, Field(gt=0, lt=1)] = DEFAULTS.dev_frac
    # "2/5": the second of five parts of the train file is the dev set; see `folds`
    fold: Annotated[str | None, PlainValidator(fields.parse_fold)] = None
    train_rows: Count | None = None
    dev_rows: Count | None = None
    # further files of training rows; their new labels come after the others
    more: Annotated[tuple[str, ...] | None, PlainValidator(fields.parse_files)] = None
    # the last files of `more` that are trained on alone; 0: all rows are
    only_more: Annotated[int, Field(ge=0), AfterValidator(fields.require_countable)] = 0
    delimiter: Annotated[str | None, PlainValidator(fields.parse_delimiter)] = None
    encoding: Text | None = None
    # above the column names
    skip_lines: Annotated[int, Field(ge=0), AfterValidator(fields.require_countable)] = 0
    sheet: Text | Count | None = None  # of a workbook: name, or number from 1
    on_bad_row: Literal["fail", "skip"] = "fail"
    normalise: Literal["none", "minbert", "minbert_pair"] | None = (
        None  # None: the named task's own
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = (
        None  # of dev_frac, train_rows and dev_rows; None: the recipe's
    )

    @field_validator("text_pair", "negative", "label")
    @classmethod
    def _another_column(cls, value: str | None, info: ValidationInfo) -> str | None:
        for other in ("text", "text_pair", "negative"):
            if value is not None and other != info.field_name and info.data.get(other) == value:
                message = f"the column {format_given(value)} is already data.{other}."
                refuse(message, remedy="Name another column.")
        return value

    @field_validator("kind")
    @classmethod
    def _only_trains(cls, value: str | None, info: ValidationInfo) -> str | None:
        useless = [
            f"data.{key}"
            for key in ("dev", "test", "label")
            if value == "unlabelled" and info.data.get(key) is not None
        ]
        if useless:
            settings = " and ".join(useless)
            message = f"a task without labels is never evaluated: {settings} would have no effect."
            refuse(message, remedy=f"Remove {'it' if len(useless) == 1 else 'them'}.")
        return value

    @field_validator("kind")
    @classmethod
    def _labels_or_negatives(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value not in (None, "unlabelled") and info.data.get("negative") is not None:
            message = "a task with labels has them to tell which texts belong together."
            refuse(message, remedy="Remove data.negative, or set data.kind: unlabelled.")
        return value

    @field_validator("labels")
    @classmethod
    def _labels_of_classes(cls, value: Any, info: ValidationInfo) -> Any:
        has = {
            "regression": "a regression has numbers and no labels",
            "unlabelled": "an unlabelled task has none",
        }.get(info.data.get("kind") or "")
        if value is not None and has:
            refuse(f"{has}.", remedy="Remove data.labels, or set another data.kind.")
        return value

    @field_validator("fold")
    @classmethod
    def _in_place_of_dev(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("dev") is not None:
            message = "folds are parts of the train file, but data.dev names a dev file."
            refuse(message, remedy="Remove one of the two.")
        return value

    @field_validator("dev_frac")
    @classmethod
    def _only_without_dev(cls, value: float, info: ValidationInfo) -> float:
        # The default beside a dev file is what a complete recipe says.
        if info.data.get("dev") is not None and value != DEFAULTS.dev_frac:
            message = (
                "sets how much of the train file becomes the dev set, but data.dev names a dev "
                "file."
            )
            refuse(message, remedy="Remove one of the two.")
        return value
