"""Step 6: the lesions of diabetic retinopathy."""

from osler.bundles import Bundle
from osler.record import Case, Mask, Source, vocab
from osler.retina.predict import Prediction, half

LESIONS = {
    "microaneurysm": ("microaneurysms", "Microaneurysms", vocab.MICROANEURYSM),
    "haemorrhage": ("haemorrhages", "Haemorrhages", vocab.HAEMORRHAGE),
    "hard exudate": ("hard-exudates", "Hard exudates", vocab.HARD_EXUDATE),
    "soft exudate": ("soft-exudates", "Soft exudates", vocab.SOFT_EXUDATE),
}


def find_lesions(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> None:
    """Add a mask for each kind of lesion to the case; a kind that was not seen has no pixels."""
    assert said.probability is not None
    for label, values in zip(said.labels, said.probability, strict=True):
        id, name, code = LESIONS[label]
        case.add(
            Mask(
                id=id,
                name=name,
                source=Source("bundle", bundle.card.name, bundle.card.version),
                code=code,
                site=vocab.RETINA,
                item=item,
                evidence=("field",),
                mask=said.masks[label],
                probabilities=half(values),
            )
        )
