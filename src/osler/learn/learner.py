"""How a network is optimised: the part of a recipe that the training loop obeys."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Learner(BaseModel):
    """The optimisation.

    Attributes:
        steps: optimiser steps.
        batch: patches a step.
        patch: side of a patch, canvas pixels, a multiple of 32.
        foreground: share of patches centred on a labelled pixel.
        rate: peak learning rate of AdamW (cosine decay after a linear warm-up).
        weight_decay: of AdamW.
        warmup: steps of warm-up.
        ema: decay of the running average of weights that is validated and exported.
        clip: largest norm of the gradient.
        dice: weight of the soft Dice loss beside cross-entropy.
        positive: weight of positive pixels in the cross-entropy.
        precision: ``auto`` takes bfloat16 where the processor has it.
        validate_every: steps between validations.
        patience: validations without a better score before it stops; None never stops.
        checkpoint_minutes: minutes between checkpoints.
        seed: of everything random.
        hold: the fold that is validated on and never trained on; None trains on all.
        finish: steps that follow on all folds once the held-out fold has judged, at a third of
            the rate. The network after them is the one that is exported; thresholds, calibration
            and figures are those of the network before them, and the card says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    patch: int = Field(256, gt=0, multiple_of=32)
    foreground: float = Field(0.3, ge=0, le=1)
    rate: float = Field(2e-3, gt=0)
    weight_decay: float = 1e-4
    warmup: int = Field(200, ge=0)
    ema: float = Field(0.998, ge=0, lt=1)
    clip: float = 1.0
    dice: float = 1.0
    positive: float = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    validate_every: int = Field(500, gt=0)
    patience: int | None = Field(None, gt=0)
    checkpoint_minutes: float = 3.0
    seed: int = 1
    hold: int | None = 0
    finish: int = Field(0, ge=0)
