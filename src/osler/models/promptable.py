"""Networks that are told by a box or by points what to segment, in the pixels of one's own picture.

``net.segment(picture, boxes=..., points=...)`` is what ``osler predict NAME --box x0,y0,x1,y1``
calls: it prepares the picture as the published weights expect, carries the prompts along, and
brings the masks home to the picture's own size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.preprocessing import Preprocessing

AT_ONCE = 16
"""Prompts that are decoded together, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """What prompts gave, at the size of the picture.

    Attributes:
        masks: ``(P, M, H, W)``, True within.
        chances: ``(P, M, H, W)``, 0 to 1.
        overlaps: ``(P, M)``, the network's guess of each mask's overlap (IoU) with the truth.
    """

    masks: NDArray[np.bool_]
    chances: NDArray[np.float32]
    overlaps: NDArray[np.float32]

    def best(self) -> NDArray[np.bool_]:
        """``(P, H, W)``: of each prompt's masks the one with the greatest guessed overlap."""
        return self.masks[np.arange(len(self.masks)), self.overlaps.argmax(axis=1)]


class Promptable(nn.Module):
    """A network that takes prompts; subclasses say how to ``encode`` and ``decode``.

    Args:
        preprocessing: from a picture of 8 bits to the network's input.
        image_size: side of that input, pixels.
        home: ``scores`` resizes scores to the input, cuts off its margin and resizes again;
            ``chances`` resizes chances at once, as MedSAM does.
    """

    def __init__(self, *, preprocessing: Preprocessing, image_size: int, home: str) -> None:
        super().__init__()
        if home not in ("scores", "chances"):
            raise RecipeError(f"home is 'scores' or 'chances', not {home!r}")
        self.preprocessing, self.image_size, self.home = preprocessing, image_size, home

    def encode(self, x: Tensor, **context: Any) -> Tensor:
        """``(B, C, H, W)`` to an embedding."""
        raise NotImplementedError

    def decode(self, embedding: Tensor, **prompts: Any) -> tuple[Tensor, Tensor]:
        """An embedding and N prompts to scores ``(N, M, h, w)`` and overlaps ``(N, M)``."""
        raise NotImplementedError

    def segment(
        self,
        picture: NDArray[np.uint8],
        *,
        boxes: ArrayLike | None = None,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        multimask: bool = False,
        **context: Any,
    ) -> Segmented:
        """Segment what P boxes or sets of points show in one picture of any size.

        Args:
            picture: ``(C, H, W)`` of 8 bits, 1 or 3 channels.
            boxes: ``(P, 4)`` or ``(4,)``: x0, y0, x1, y1 in the picture's pixels.
            points: ``(P, K, 2)`` or ``(K, 2)``: x and y in the picture's pixels; with boxes, K
                points for each box.
            labels: ``(P, K)`` or ``(K,)``: 1 within the object, 0 outside; all within if absent.
            multimask: several masks a prompt, for a prompt that could mean several things.
            context: what else ``encode`` takes, such as ``task="Fundus_OpticCup"`` of MedSegX.

        Raises:
            RecipeError: no prompt, or prompts of the wrong shape or outside the picture.
        """
        h, w = picture.shape[-2:]
        prompts = _prompts(boxes, points, labels, (h, w))
        inner = self.preprocessing.placed((h, w))
        near = next(self.parameters())
        x = torch.from_numpy(self.preprocessing(picture)[None]).to(near.device, near.dtype)
        scale = np.array([inner[1] / w, inner[0] / h])
        moved = {
            "boxes": None if prompts[0] is None else prompts[0] * np.tile(scale, 2),
            "points": None if prompts[1] is None else prompts[1] * scale,
            "labels": prompts[2],
        }
        fed = {  # in single precision, whatever that of the network
            k: None if v is None else torch.from_numpy(v).to(x.device, torch.float32)
            for k, v in moved.items()
        }
        n = next(len(one) for one in prompts if one is not None)
        chances, overlaps = [], []
        with torch.inference_mode():
            embedding = self.encode(x, **context)
            for first in range(0, n, AT_ONCE):
                some = {
                    k: None if v is None else v[first : first + AT_ONCE] for k, v in fed.items()
                }
                size = (x.shape[-2], x.shape[-1])
                scores, overlap = self.decode(embedding, size=size, multimask=multimask, **some)
                chances.append(self.brought_home(scores, inner, (h, w)).cpu())
                overlaps.append(overlap.float().cpu())
        chance = torch.cat(chances).numpy()
        return Segmented(chance > 0.5, chance, torch.cat(overlaps).numpy())

    def brought_home(
        self, scores: Tensor, inner: tuple[int, int], native: tuple[int, int]
    ) -> Tensor:
        """Chances at the picture's size from scores ``(N, M, h, w)``.

        Args:
            scores: as ``decode`` gives them.
            inner: ``(H, W)`` of the part of the input that the picture fills.
            native: ``(H, W)`` of the picture.
        """
        scores = scores.float()
        if self.home == "chances":
            return _drawn(scores.sigmoid(), native)
        whole = _drawn(scores, (self.image_size, self.image_size))
        return _drawn(whole[..., : inner[0], : inner[1]], native).sigmoid()


def _drawn(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


Prompts = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None, NDArray[np.float64] | None]


def _prompts(
    boxes: ArrayLike | None,
    points: ArrayLike | None,
    labels: ArrayLike | None,
    size: tuple[int, int],
) -> Prompts:
    """Boxes ``(P, 4)``, points ``(P, K, 2)`` and labels ``(P, K)``, checked."""
    box = None if boxes is None else np.atleast_2d(np.asarray(boxes, np.float64))
    if box is not None:
        if box.ndim != 2 or box.shape[1] != 4 or not len(box):
            raise RecipeError(f"boxes are (P, 4): x0, y0, x1, y1; these are of shape {box.shape}")
        if (box[:, :2] >= box[:, 2:]).any():
            raise RecipeError("a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    point, label = None, None
    if points is not None:
        point = np.asarray(points, np.float64)
        point = point[None] if point.ndim == 2 else point
        if point.ndim != 3 or point.shape[2] != 2 or not point.size:
            raise RecipeError(f"points are (P, K, 2): x and y; these are of shape {point.shape}")
        label = np.ones(point.shape[:2]) if labels is None else np.asarray(labels, np.float64)
        label = label[None] if label.ndim == 1 else label
        if label.shape != point.shape[:2]:
            raise RecipeError(f"points {point.shape} need labels {point.shape[:2]}")
        if not np.isin(label, (0, 1)).all():
            raise RecipeError("labels of points are 1 within the object and 0 outside")
        if box is not None and len(box) != len(point):
            raise RecipeError(f"{len(box)} boxes and {len(point)} sets of points; one for each box")
    if box is None and point is None:
        raise RecipeError("say what to segment: boxes=(x0, y0, x1, y1) or points=(x, y)")
    h, w = size
    for places in (None if box is None else box.reshape(-1, 2), point):
        if places is not None:
            flat = places.reshape(-1, 2)
            if (flat < 0).any() or (flat > (w, h)).any() or not np.isfinite(flat).all():
                raise RecipeError(
                    f"a prompt lies outside the picture, which is {w} pixels wide and {h} high"
                )
    return box, point, label
