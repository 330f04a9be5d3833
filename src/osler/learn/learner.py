"""How a network is optimised: the part of a recipe that the training loop obeys."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Learner(BaseModel):
    """The optimisation. ``docs/training.md`` has each key's formula and source.

    Attributes:
        steps: optimiser steps.
        batch: patches (samples) a batch.
        accumulate: batches a step: the gradients of so many calls of the loss are averaged before
            the optimiser steps. Call ``i`` of step ``s`` has the number ``s * accumulate + i``.
        patch: side of a patch, canvas pixels, a multiple of 32.
        foreground: share of patches centred on a labelled pixel.
        negatives: share of patches from cases without any labelled pixel; None draws every case
            alike.
        sampler: how cases are drawn where the task draws whole cases: each once before any twice
            (``even``), every class alike (``balanced``), at most one case of a patient in a batch
            (``grouped``), or both.
        balance: with a balanced sampler, a class of ``n`` cases is drawn as often as ``n`` to this
            power says: 0 all alike, 1 as they are, 0.5 between.
        optimiser: ``adamw``, or ``sgd`` with Nesterov's momentum.
        rate: peak learning rate.
        weight_decay: of weights; biases and normalisation do not decay.
        momentum: of ``sgd``.
        warmup: steps over which the rate rises linearly.
        schedule: how the rate falls after that: half a ``cosine``, a power of what is left
            (``poly``), or not at all (``constant``).
        power: of ``poly``.
        floor: share of the peak rate at which the schedule ends.
        layer_decay: factor of the rate from one block to the one before it; 1 gives all the same.
        ema: decay of the running average of weights that is validated and exported.
        clip: largest norm of the gradient; None does not clip.
        dice: weight of the soft Dice loss beside cross-entropy.
        positive: weight of positive pixels in the cross-entropy.
        normalised_entropy: divide the cross-entropy of each label by what a constant guess at its
            prevalence would have, so that labels of few pixels teach as much as those of many.
        precision: ``auto`` takes bfloat16 where the processor has it; float16 takes CUDA.
        checkpointing: keep only what goes into each block and compute the rest of it again in the
            backward pass: less memory, about a third more time, the same gradients.
        validate_every: steps between validations.
        patience: validations without a better score before it stops; None never stops.
        checkpoint_minutes: minutes between checkpoints: the most that a killed run loses.
        graph: whether TensorBoard shows the network's graph.
        seed: of everything random.
        hold: the fold that is validated on and never trained on; None trains on all.
        finish: steps that follow on all folds once the held-out fold has judged, at a third of
            the rate. The network after them is the one that is exported; thresholds, calibration
            and figures are those of the network before them, and the card says so.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int = Field(gt=0)
    batch: int = Field(8, gt=0)
    accumulate: int = Field(1, gt=0)
    patch: int = Field(256, gt=0, multiple_of=32)
    foreground: float = Field(0.3, ge=0, le=1)
    negatives: float | None = Field(None, ge=0, le=1)
    sampler: Literal["even", "balanced", "grouped", "balanced-grouped"] = "even"
    balance: float = Field(0.0, ge=0, le=1)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    momentum: float = Field(0.99, ge=0, lt=1)
    warmup: int = Field(200, ge=0)
    schedule: Literal["cosine", "poly", "constant"] = "cosine"
    power: float = Field(0.9, gt=0)
    floor: float = Field(0.01, ge=0, le=1)
    layer_decay: float = Field(1.0, gt=0, le=1)
    ema: float = Field(0.998, ge=0, lt=1)
    clip: float | None = Field(1.0, gt=0)
    dice: float = Field(1.0, ge=0)
    positive: float = Field(1.0, gt=0)
    normalised_entropy: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    checkpointing: bool = False
    validate_every: int = Field(500, gt=0)
    patience: int | None = Field(None, gt=0)
    checkpoint_minutes: float = Field(3.0, ge=0)
    graph: bool = False
    seed: int = 1
    hold: int | None = 0
    finish: int = Field(0, ge=0)
