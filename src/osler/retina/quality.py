"""Step 2: is it a fundus photograph, and of what quality."""

from osler.bundles import Bundle
from osler.record import Case, Label, Source, vocab
from osler.retina.predict import Prediction

FUNDUS = "fundus photograph"
NOT_FUNDUS = "not a fundus photograph"
_SMALLEST = 96  # a field of fewer pixels across shows no vessel worth measuring
_DEFECT = 0.5


def judge(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> tuple[str, str]:
    """Add ``photograph`` and ``quality`` to the case.

    Args:
        case: has ``field``.
        bundle: the quality bundle.
        said: what it said about the photograph.
        item: the photograph's name.

    Returns:
        The values of the two labels.
    """
    source = Source("bundle", bundle.card.name, bundle.card.version)
    likely = said.probabilities["photograph"][FUNDUS]
    threshold = bundle.card.output("photograph").labels[0].threshold or 0.5
    kind = FUNDUS if likely >= threshold else NOT_FUNDUS
    case.add(
        Label(
            id="photograph",
            name="Kind of photograph",
            source=source,
            code=vocab.label("photograph"),
            item=item,
            evidence=("field",),
            value=kind,
            probability=likely if kind == FUNDUS else 1 - likely,
            probabilities={FUNDUS: likely, NOT_FUNDUS: 1 - likely},
        )
    )
    grades = dict(said.probabilities["quality"])
    value = max(grades, key=lambda key: grades[key])
    defects = [name for name, p in said.probabilities["defects"].items() if p >= _DEFECT]
    side = max(case.image(item).shape)
    if side < _SMALLEST:
        value, defects = "reject", ["resolution", *defects]
    if kind == NOT_FUNDUS:
        value, defects = "reject", ["not-fundus"]
    if value == "good":
        defects = []
    case.add(
        Label(
            id="quality",
            name="Image quality",
            source=source,
            code=vocab.label("quality"),
            item=item,
            evidence=("photograph", "field"),
            value=value,
            probability=grades.get(value),
            probabilities=grades,
            flags=tuple(defects),
        )
    )
    return kind, value
