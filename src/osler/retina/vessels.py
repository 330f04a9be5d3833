"""Step 4: vessels, and which of them are arteries and veins."""

from osler.bundles import Bundle
from osler.record import Case, Mask, Source, vocab
from osler.retina.predict import Prediction, half


def trace_vessels(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> None:
    """Add ``vessels`` to the case."""
    assert said.probability is not None
    case.add(
        Mask(
            id="vessels",
            name="Retinal vessels",
            source=Source("bundle", bundle.card.name, bundle.card.version),
            code=vocab.BLOOD_VESSEL,
            site=vocab.RETINA,
            item=item,
            evidence=("field",),
            mask=said.masks["vessel"],
            probabilities=half(said.probability[0]),
        )
    )


def tell_arteries(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> None:
    """Add ``artery`` and ``vein`` to the case."""
    assert said.probability is not None
    codes = {"artery": vocab.ARTERY, "vein": vocab.VEIN}
    names = {"artery": "Retinal arteries", "vein": "Retinal veins"}
    for label, values in zip(said.labels, said.probability, strict=True):
        case.add(
            Mask(
                id=label,
                name=names[label],
                source=Source("bundle", bundle.card.name, bundle.card.version),
                code=codes[label],
                site=vocab.RETINA,
                item=item,
                evidence=("field",),
                mask=said.masks[label],
                probabilities=half(values),
            )
        )
