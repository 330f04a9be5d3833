"""Losses of contrast: what belongs together is drawn together, and all else apart.

Pure functions of features. Similarities are cosines over a temperature; whatever learns under
bfloat16 hands in ``float32``.
"""

import torch
from torch import Tensor
from torch.nn import functional


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    """The normalised, temperature-scaled cross-entropy of pairs (NT-Xent).

    Of ``2 N`` unit vectors ``z``, each has one positive ``p(i)``, its other view, and is compared
    with all but itself::

        L = mean over i of -log( exp(z_i z_p(i) / t) / sum over a != i of exp(z_i z_a / t) )

    Source: Chen et al. 2020, "A simple framework for contrastive learning of visual
    representations", ICML, equation 1.

    Args:
        first: ``(N, C)``, not normalised.
        second: ``(N, C)``, the other view of the same row.
        temperature: ``t``, above 0.
    """
    scores = _others(torch.cat([first, second]), temperature)
    pair = torch.arange(len(scores), device=scores.device).roll(len(first))
    return functional.cross_entropy(scores, pair)


def multi_positive(features: Tensor, positives: Tensor, *, temperature: float) -> Tensor:
    """The contrastive loss of rows that have several positives each, or none (SupCon, L_out).

    With the share ``q_ip = exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t)``::

        L_i = -1/|P_i| sum over p in P_i of log q_ip

    The mean is over the rows that have a positive; without any it is 0. The released code
    multiplies it by ``t`` over a base temperature, which the equation does not.

    Source: Khosla et al. 2020, "Supervised contrastive learning", NeurIPS, equation 2.

    Args:
        features: ``(N, C)``, not normalised.
        positives: ``(N, N)``, whether the row and the column belong together; the diagonal is not
            looked at.
        temperature: ``t``, above 0.
    """
    scores = _others(features, temperature)
    own = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    positives = positives.to(torch.bool) & ~own
    log_shares = scores.log_softmax(dim=1).masked_fill(~positives, 0)
    counts = positives.sum(dim=1)
    each = -log_shares.sum(dim=1) / counts.clamp(min=1)
    return each.sum() / (counts > 0).sum().clamp(min=1)


def supcon(features: Tensor, groups: Tensor, *, temperature: float) -> Tensor:
    """`multi_positive`, where rows of one group belong together.

    Args:
        features: ``(N, C)``.
        groups: ``(N,)`` whole numbers: the class, the patient, the anatomy.
        temperature: above 0.
    """
    return multi_positive(features, groups[:, None] == groups[None], temperature=temperature)


def clip(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """The symmetric cross-entropy of pairs of image and text.

    Source: Radford et al. 2021, "Learning transferable visual models from natural language
    supervision", ICML, figure 3.

    Args:
        images: ``(N, C)``, not normalised.
        texts: ``(N, C)``, the text of the same row.
        log_scale: the logarithm of one over the temperature.
    """
    return soft_clip(images, texts, log_scale, torch.eye(len(images), device=images.device))


def soft_clip(images: Tensor, texts: Tensor, log_scale: Tensor, alike: Tensor) -> Tensor:
    """`clip` with targets that are shared among all texts that would be right.

    ``S = exp(log_scale) text imageᵀ``, ``T`` has rows that sum to 1, and the loss is the mean of
    the cross-entropies of ``S`` with ``T`` and of ``Sᵀ`` with ``Tᵀ``, each row of which sums to 1.

    Source: Silva-Rodriguez et al. 2025, "A foundation language-image model of the retina (FLAIR)",
    Medical Image Analysis 99, equation 3, whose ``alike`` is 1 for texts of one category; Wang et
    al. 2022, "MedCLIP", EMNLP, for targets by likeness.

    Args:
        images: ``(N, C)``, not normalised.
        texts: ``(N, C)``.
        log_scale: the logarithm of one over the temperature.
        alike: ``(N, N)`` how much text (row) and image (column) belong together, at least 0.
    """
    texts, images = functional.normalize(texts, dim=1), functional.normalize(images, dim=1)
    scores = log_scale.exp() * texts @ images.T
    alike = alike.to(scores.dtype)
    return (
        functional.cross_entropy(scores, _shares(alike))
        + functional.cross_entropy(scores.T, _shares(alike.T))
    ) / 2


def soft_targets(scores: Tensor, by_image: Tensor, by_text: Tensor) -> Tensor:
    """The mean cross-entropy, both ways, of scores with targets that are given as distributions.

    Args:
        scores: ``(N, M)`` of images (rows) and texts (columns).
        by_image: ``(N, M)``, rows that sum to 1.
        by_text: ``(M, N)``, rows that sum to 1.
    """
    return (
        functional.cross_entropy(scores, by_image) + functional.cross_entropy(scores.T, by_text)
    ) / 2


def _others(features: Tensor, temperature: float) -> Tensor:
    """Cosines over the temperature, in which no row is compared with itself."""
    unit = functional.normalize(features, dim=1)
    own = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    return (unit @ unit.T / temperature).masked_fill(own, -torch.inf)


def _shares(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
