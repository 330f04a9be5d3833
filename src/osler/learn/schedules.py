"""How the learning rate goes over a run: up in a line, then down a curve."""

import math

from osler.learn.learner import Learner


def rate_at(step: int, learner: Learner) -> float:
    """The learning rate of a step, counted from 0.

    In the warm-up of ``w`` steps it is ``rate * (step + 1) / w`` (Goyal et al. 2017, "Accurate,
    Large Minibatch SGD", section 2.2). After that, with ``t`` from 0 to 1 the share of the
    remaining steps that is done:

    - ``cosine``: ``floor + (1 - floor) * (1 + cos(pi * t)) / 2`` of the peak (Loshchilov and
      Hutter 2017, "SGDR", ICLR, equation 5, without restarts);
    - ``poly``: ``floor + (1 - floor) * (1 - t) ** power`` of the peak (Chen et al. 2018,
      "DeepLab", TPAMI 40(4), section 4.1; nnU-Net takes it with a power of 0.9 and a floor of 0);
    - ``constant``: the peak.
    """
    if step < learner.warmup:
        return learner.rate * (step + 1) / learner.warmup
    if learner.schedule == "constant":
        return learner.rate
    done = min(1.0, (step - learner.warmup) / max(1, learner.steps - learner.warmup))
    if learner.schedule == "poly":
        left = math.pow(1 - done, learner.power)
        return learner.rate * (learner.floor + (1 - learner.floor) * left)
    fall = (1 - learner.floor) * 0.5 * (1 + math.cos(math.pi * done))
    return learner.rate * (learner.floor + fall)
