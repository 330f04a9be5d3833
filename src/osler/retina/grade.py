"""Step 7: the grade of diabetic retinopathy and the risk of macular oedema, with their evidence."""

import numpy as np
from PIL import Image as Pillow

from osler.bundles import Bundle
from osler.record import Case, Heatmap, Label, Mask, Source, vocab
from osler.retina.lesions import LESIONS
from osler.retina.predict import Prediction
from osler.tasks.prediction_set import prediction_set

GRADES = {
    "0": "no apparent retinopathy",
    "1": "mild non-proliferative retinopathy",
    "2": "moderate non-proliferative retinopathy",
    "3": "severe non-proliferative retinopathy",
    "4": "proliferative retinopathy",
}
OEDEMA = {
    "0": "no hard exudates seen",
    "1": "hard exudates beyond one disc diameter of the fovea",
    "2": "hard exudates within one disc diameter of the fovea",
}


def grade(case: Case, bundle: Bundle, said: Prediction, *, item: str = "photo") -> None:
    """Add ``dr-heatmap``, ``dr-grade``, ``dr-referable`` and ``dme-risk`` to the case."""
    source = Source("bundle", bundle.card.name, bundle.card.version)
    lesions = tuple(
        id for id, _, _ in LESIONS.values() if (m := case.get(id, Mask)) and m.mask.any()
    )
    case.add(
        Heatmap(
            id="dr-heatmap",
            name="Where the grade comes from",
            source=source,
            item=item,
            evidence=("field",),
            values=_heatmap(said),
            method="attention of the grading network over the photograph, 1 at its peak",
        )
    )
    evidence = (*lesions, "dr-heatmap", "quality")
    for id, name, code, meanings in (
        ("dr-grade", "Diabetic retinopathy (ICDR)", vocab.DR_GRADE, GRADES),
        ("dme-risk", "Risk of macular oedema", vocab.DME_RISK, OEDEMA),
    ):
        output = bundle.card.output("grade" if id == "dr-grade" else "oedema")
        said_here = dict(said.probabilities[output.name])
        value = max(said_here, key=lambda key: said_here[key])
        calibration = output.calibration
        case.add(
            Label(
                id=id,
                name=name,
                source=source,
                code=code,
                item=item,
                evidence=evidence,
                value=value,
                probability=said_here[value],
                probabilities=said_here,
                prediction_set=prediction_set(
                    said_here, calibration.conformal_quantile if calibration else None
                ),
                coverage=calibration.coverage if calibration else None,
                meanings=meanings,
            )
        )
    chance = said.probabilities["referable"]["yes"]
    threshold = bundle.card.output("referable").labels[0].threshold or 0.5
    case.add(
        Label(
            id="dr-referable",
            name="Referable diabetic retinopathy",
            source=source,
            code=vocab.DR_REFERABLE,
            item=item,
            evidence=("dr-grade", *evidence),
            value="yes" if chance >= threshold else "no",
            probability=chance if chance >= threshold else 1 - chance,
            probabilities={"yes": chance, "no": 1 - chance},
        )
    )


def _heatmap(said: Prediction) -> np.ndarray[tuple[int, int], np.dtype[np.float16]]:
    """The network's attention, in the photograph's grid, ``(H, W)`` in 0 to 1."""
    field = said.canvas.field
    cells = said.scores["attention"][0, 0].astype(np.float32)
    cells = cells / max(float(cells.max()), 1e-9)
    drawn = Pillow.fromarray(cells).resize(said.canvas.size[::-1], Pillow.Resampling.BILINEAR)
    h0, w0, h1, w1 = field.box
    h, w = said.canvas.content
    home = drawn.crop((0, 0, w, h)).resize((w1 - w0, h1 - h0), Pillow.Resampling.BILINEAR)
    out = np.zeros(field.shape, np.float16)
    out[h0:h1, w0:w1] = np.clip(np.asarray(home), 0, 1) * field.mask(field.box)
    return out
