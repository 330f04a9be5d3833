"""Step 1: the field of view, as a finding that every later step reads."""

from osler import __version__
from osler.record import Case, Mask, Measurement, Source, vocab
from osler.tasks.canvas import rgb
from osler.tasks.field import Field, find_field

SOURCE = Source("algorithm", "osler.tasks.field", __version__)


def locate_field(case: Case, *, item: str = "photo") -> Field:
    """Find the field of view and add ``field`` and ``field-diameter`` to the case.

    Returns:
        The field, for the steps that draw canvases.
    """
    image = case.image(item)
    field = find_field(rgb(image))
    flags = () if field.circular else ("no-circle",)
    case.add(
        Mask(
            id="field",
            name="Field of view",
            source=SOURCE,
            code=vocab.FIELD_OF_VIEW,
            item=item,
            flags=flags,
            mask=field.mask(),
        )
    )
    case.add(
        Measurement(
            id="field-diameter",
            name="Diameter of the field of view",
            source=SOURCE,
            item=item,
            evidence=("field",),
            flags=flags,
            value=round(2 * field.radius, 1),
            unit="[pix_i]",
            method="least-squares circle through the border of the lit part (Kasa 1976)",
        )
    )
    return field
