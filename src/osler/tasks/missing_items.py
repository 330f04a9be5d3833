"""Several images of one grid of which any may be missing, such as the sequences of an MR study.

What is missing is 0 throughout and said to be absent; a network's answer must not depend on what
stands there.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError
from osler.record import Case, Image
from osler.tasks.grid import Grid
from osler.tasks.image_input import ImageInput, encode_image
from osler.tasks.task import InputSpec

PRESENT: Final = "present"


def present_items(case: Case, wanted: ImageInput) -> list[str]:
    """Which of the images that an input names a case has; by their very names.

    Raises:
        InputError: it has none of them.
    """
    images = {item.name for item in case.items.values() if isinstance(item, Image)}
    there = [name for name in wanted.items if name in images]
    if not there:
        known = ", ".join(f"'{one}'" for one in sorted(images)) or "none"
        raise InputError(
            f"case '{case.id}' has none of the images {', '.join(map(repr, wanted.items))}; "
            f"its images: {known}"
        )
    return there


def encode_present(
    case: Case, wanted: ImageInput
) -> tuple[NDArray[np.float32], NDArray[np.float32], tuple[int, ...], Grid | None, Grid | None]:
    """The images that there are, in the grid of the first of them.

    Returns:
        ``(C, [D,] H, W)`` with zeros for what is missing; ``(C,)``, 1 for what is there; and the
        rest as of `osler.tasks.image_input.encode_image`.

    Raises:
        InputError: none of the images is there, or as for `osler.tasks.image_input.encode_image`.
    """
    there = present_items(case, wanted)
    some = wanted.model_copy(update={"items": there})
    image, native, source, target = encode_image(case, some)
    present = np.array([name in there for name in wanted.items], np.float32)
    out = np.zeros((len(present), *image.shape[1:]), np.float32)
    out[present > 0] = image
    return out, present, native, source, target


def default_network(spec: InputSpec, wanted: ImageInput) -> tuple[str, dict[str, Any]]:
    """The network that is built where a recipe names none."""
    return "mmformer", {
        "modalities": list(wanted.items), "channels": 1, "dims": spec.axes,
        "image_size": list(spec.size or (128,) * spec.axes), "width": 8, "embed_dim": 128,
        "hidden": 512, "input_dropout": 0.5, "deep_supervision": True,
    }  # fmt: skip
