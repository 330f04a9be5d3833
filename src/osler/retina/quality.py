"""Step 2: is it a fundus photograph, and of what quality."""

from collections.abc import Sequence

from osler.bundles import Bundle
from osler.record import Case, Label, Mask, Source, vocab
from osler.retina.predict import Prediction

FUNDUS = "fundus photograph"
NOT_FUNDUS = "not a fundus photograph"
_SMALLEST = 96  # a field of fewer pixels across shows no vessel worth measuring
COARSE = 450  # pixels across a field below which no grade is given: see docs/benchmarks.md
_EVEN = 0.5  # the threshold of a label whose card has none


def judge(
    case: Case,
    bundle: Bundle,
    said: Prediction,
    *,
    item: str = "photo",
    doubts: Sequence[str] = (),
    grey: bool = False,
    coarse: bool = False,
) -> tuple[str, str]:
    """Add ``photograph`` and ``quality`` to the case.

    A rejected photograph always has a reason among its flags: the defects that reach their
    threshold, else the likeliest one. What was rejected by rule (``not-fundus``, ``resolution``)
    has no probability.

    Args:
        case: has ``field``.
        bundle: the quality bundle.
        said: what it said about the photograph.
        item: the photograph's name.
        doubts: why it cannot be a fundus photograph, whatever the network says.
        grey: it has no colour, so it is ``usable`` at best.
        coarse: it has too few pixels to be graded, likewise.

    Returns:
        The values of the two labels.
    """
    source = Source("bundle", bundle.card.name, bundle.card.version)
    likely = said.probabilities["photograph"][FUNDUS]
    threshold = _thresholds(bundle, "photograph")[FUNDUS]
    kind = FUNDUS if likely >= threshold and not doubts else NOT_FUNDUS
    overruled = bool(doubts) and likely >= threshold
    case.add(
        Label(
            id="photograph",
            name="Kind of photograph",
            source=source,
            code=vocab.label("photograph"),
            item=item,
            evidence=("field",),
            value=kind,
            probability=None if overruled else likely if kind == FUNDUS else 1 - likely,
            probabilities={FUNDUS: likely, NOT_FUNDUS: 1 - likely},
            flags=tuple(doubts),
        )
    )
    grades = dict(said.probabilities["quality"])
    value, flags = _worth(case, bundle, said, fundus=kind == FUNDUS)
    if kind == FUNDUS and "resolution" not in flags:
        found = tuple(name for name, so in (("grey", grey), ("coarse", coarse)) if so)
        value = "usable" if value == "good" and found else value
        flags = (*flags, *found)
    by_rule = bool({"not-fundus", "resolution", "grey", "coarse"} & set(flags))
    case.add(
        Label(
            id="quality",
            name="Image quality",
            source=source,
            code=vocab.label("quality"),
            item=item,
            evidence=("photograph", "field"),
            value=value,
            probability=None if by_rule else grades[value],
            probabilities=grades,
            flags=flags,
        )
    )
    return kind, value


def _worth(
    case: Case, bundle: Bundle, said: Prediction, *, fundus: bool
) -> tuple[str, tuple[str, ...]]:
    """The quality and the reasons for it."""
    if not fundus:
        return "reject", ("not-fundus",)
    grades, chances = said.probabilities["quality"], said.probabilities["defects"]
    value = max(grades, key=lambda key: grades[key])
    limits = _thresholds(bundle, "defects")
    defects = tuple(name for name, chance in chances.items() if chance >= limits[name])
    field = case.get("field", Mask)
    if field is not None and max(field.mask.any(0).sum(), field.mask.any(1).sum()) < _SMALLEST:
        return "reject", ("resolution", *defects)
    if value == "good":
        return value, ()
    if value == "reject" and not defects:
        defects = (max(chances, key=lambda name: chances[name]),)
    return value, defects


def _thresholds(bundle: Bundle, output: str) -> dict[str, float]:
    labels = bundle.card.output(output).labels
    return {one.name: _EVEN if one.threshold is None else one.threshold for one in labels}
