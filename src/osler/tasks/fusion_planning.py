"""What named inputs leave open, found in the teaching cases: scales, categories, words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler.errors import RecipeError
from osler.record import Case, Image, Label, Signal, Table
from osler.tasks.fusion_input import Inputs, features_of
from osler.tasks.fusion_items import interval_of, item_for, text_for, values_for
from osler.tasks.fusion_sentences import planned_sentences
from osler.tasks.fusion_series import course_of, planned_course
from osler.tasks.fusion_settings import (
    Fused,
    FusedCategory,
    FusedImage,
    FusedInterval,
    FusedNumber,
    FusedOmics,
    FusedSeries,
    FusedSignal,
    FusedTable,
    FusedText,
    FusedVolume,
)
from osler.tasks.fusion_text import planned_words, words
from osler.tasks.table_input import Scale, planned_table

_LEAST_SPREAD = 1e-6
_ECG_RATE, _ECG_SECONDS = 100.0, 10.0
_MOST_SAMPLES = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """What planning needs of a teaching case.

    Attributes:
        patient: whose it is.
        labels: names of what persons said of it.
        values: by input; None where it is missing.
    """

    patient: str
    labels: frozenset[str]
    values: Mapping[str, Any]


def fusion_row(case: Case, inputs: Inputs) -> Seen:
    """What `planned_fusion` needs of a teaching case."""
    labels = frozenset(one.name for one in case.of(Label) if one.source.kind == "person")
    values = {name: _seen(case, name, inputs) for name in inputs}
    return Seen(case.patient_id or case.id, labels, values)


def _seen(case: Case, name: str, inputs: Inputs) -> Any:
    wanted = inputs[name]
    if isinstance(wanted, FusedImage | FusedVolume):
        return item_for(case, name, inputs, Image) and True
    if isinstance(wanted, FusedSeries):
        image = item_for(case, name, inputs, Image)
        return None if image is None else course_of(image, wanted.frames)
    if isinstance(wanted, FusedSignal):
        signal = item_for(case, name, inputs, Signal)
        return signal and (signal.channels, signal.rate, signal.array.shape[1] / signal.rate)
    if isinstance(wanted, FusedText):
        text = text_for(case, name, inputs)
        if text is None or wanted.encoder is not None:
            return text
        return sorted(set(words(text)))
    if isinstance(wanted, FusedOmics):
        return features_of(case, name, inputs)
    if isinstance(wanted, FusedInterval):
        return interval_of(case, name, inputs, wanted.visit or 0)
    if isinstance(wanted, FusedTable) and not wanted.columns:
        table = item_for(case, name, inputs, Table)
        return table and dict(table.values)
    assert isinstance(wanted, FusedNumber | FusedCategory | FusedTable)
    values = values_for(case, name, inputs, wanted.table_input())
    return values if any(one is not None for one in values.values()) else None


def planned_fusion(inputs: Inputs, rows: Iterable[Seen]) -> dict[str, Fused]:
    """The inputs with what they leave open, found in the teaching cases.

    Raises:
        RecipeError: no teaching case has an input, or its values do not fit its kind.
    """
    table = list(rows)
    return {name: _planned(name, wanted, table) for name, wanted in inputs.items()}


def _planned(name: str, wanted: Fused, rows: list[Seen]) -> Fused:
    there = [row for row in rows if row.values[name] is not None]
    if not there:
        labels = {one for row in rows for one in row.labels}
        why = (
            f"; '{wanted.named}' is a label, and what the answer is made of is no input"
            if wanted.named in labels
            else ""
        )
        raise RecipeError(f"settings.inputs.{name}: no teaching case has '{wanted.named}'{why}")
    values = [row.values[name] for row in there]
    if isinstance(wanted, FusedSeries):
        return wanted.model_copy(update={"course": wanted.course or planned_course(values)})
    if isinstance(wanted, FusedSignal):
        return _planned_signal(wanted, values)
    if isinstance(wanted, FusedText) and wanted.encoder is not None:
        return planned_sentences(name, wanted, values)
    if isinstance(wanted, FusedText):
        return _planned_text(name, wanted, [(row.patient, row.values[name]) for row in there])
    if isinstance(wanted, FusedOmics):
        return _planned_omics(wanted, values)
    if isinstance(wanted, FusedInterval):
        taken = wanted.taken or _scale(np.array(values, np.float64))
        return wanted.model_copy(update={"taken": taken})
    if isinstance(wanted, FusedNumber | FusedCategory | FusedTable):
        return _planned_values(name, wanted, values)
    return wanted


def _planned_signal(wanted: FusedSignal, values: list[tuple[Any, ...]]) -> FusedSignal:
    channels = wanted.channels or list(dict.fromkeys(c for names, *_ in values for c in names))
    ecg = wanted.kind == "ecg"
    rate = wanted.rate or (_ECG_RATE if ecg else float(min(one[1] for one in values)))
    length = float(np.median([one[2] for one in values]))
    seconds = wanted.seconds or (_ECG_SECONDS if ecg else min(length, _MOST_SAMPLES / rate))
    return wanted.model_copy(update={"channels": channels, "rate": rate, "seconds": seconds})


def _planned_text(name: str, wanted: FusedText, texts: list[tuple[str, list[str]]]) -> FusedText:
    if wanted.vocabulary:
        return wanted
    vocabulary, weights = planned_words(texts, most=wanted.words, least=wanted.least)
    if not vocabulary:
        raise RecipeError(
            f"settings.inputs.{name}: no word stands in the texts of {wanted.least} patients or "
            f"more; lower settings.inputs.{name}.least, or leave the input out"
        )
    return wanted.model_copy(update={"vocabulary": vocabulary, "weights": weights})


def _planned_omics(wanted: FusedOmics, values: list[dict[str, float]]) -> FusedOmics:
    if wanted.features and wanted.taken:
        return wanted
    names = wanted.features or list(dict.fromkeys(key for one in values for key in one))
    columns = {key: np.array([one[key] for one in values if key in one]) for key in names}
    columns = {key: known for key, known in columns.items() if len(known)}
    spread = {key: float(known.std()) for key, known in columns.items()}
    kept = sorted(sorted(columns, key=lambda key: (-spread[key], key))[: wanted.most])
    taken = {key: _scale(columns[key]) for key in kept}
    return wanted.model_copy(update={"features": kept, "taken": taken})


def _planned_values(
    name: str, wanted: FusedNumber | FusedCategory | FusedTable, rows: list[dict[str, Any]]
) -> Fused:
    table = wanted.table_input()
    if isinstance(wanted, FusedTable) and not wanted.columns:
        columns = sorted({key for row in rows for key in row})
        table = table.model_copy(update={"columns": columns})
        rows = [{key: row.get(key) for key in columns} for row in rows]
    if isinstance(wanted, FusedCategory):
        if not wanted.categories:
            found = {_word(row[wanted.named]) for row in rows}
            table = table.model_copy(update={"categories": {wanted.named: sorted(found)}})
            _refuse_many(name, found)
        return wanted.model_copy(update={"categories": table.categories[wanted.named]})
    if isinstance(wanted, FusedNumber) and any(isinstance(row[wanted.named], str) for row in rows):
        raise RecipeError(
            f"settings.inputs.{name}: '{wanted.named}' holds words; they are a category, or a text"
        )
    try:
        table = planned_table(table, rows)
    except RecipeError as error:
        said = str(error).replace("settings.table", f"settings.inputs.{name}")
        raise RecipeError(said) from error
    if isinstance(wanted, FusedNumber):
        return wanted.model_copy(update={"taken": table.numbers[wanted.named]})
    return wanted.model_copy(
        update={
            "columns": table.columns, "numbers": table.numbers, "categories": table.categories
        }
    )  # fmt: skip


def _word(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _refuse_many(name: str, found: set[str], *, most: int = 50) -> None:
    if len(found) > most:
        raise RecipeError(
            f"settings.inputs.{name}: {len(found)} categories (at most {most}): is it an "
            "identifier or a text?"
        )


def _scale(values: NDArray[Any]) -> Scale:
    spread = float(np.std(values))
    return Scale(
        mean=float(np.mean(values)), deviation=spread if spread > _LEAST_SPREAD else 1.0
    )  # fmt: skip
