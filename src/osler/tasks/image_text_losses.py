"""Losses of pictures and texts; functions of scores, as the sources define them (torch).

Scores are ``exp(t) text imageᵀ``: rows are texts, columns pictures.
"""

from typing import Any


def soft(scores: Any, alike: Any) -> Any:
    """The mean of both ways' cross-entropies with targets that are shared by all that are right.

    Source: Silva-Rodriguez et al. 2025, "A foundation language-image model of the retina (FLAIR)",
    Medical Image Analysis 99, equation 3; with the identity it is CLIP's (Radford et al. 2021).

    Args:
        scores: ``(N, M)``.
        alike: ``(N, M)``, how much each pair belongs together, at least 0.
    """
    from torch.nn import functional

    alike = alike.to(scores.dtype)
    return (
        functional.cross_entropy(scores, _shares(alike))
        + functional.cross_entropy(scores.T, _shares(alike.T))
    ) / 2


def semantic(scores: Any, texts: Any, images: Any, *, sharpness: float = 1.0) -> Any:
    """MedCLIP's semantic matching: targets are a softmax of how alike the labels are.

    Source: Wang et al. 2022, "MedCLIP: contrastive learning from unpaired medical images and text",
    EMNLP, equations 3 to 8; ``sharpness`` is ours, its 1 is theirs.

    Args:
        scores: ``(N, M)``.
        texts: labels of the texts ``(N, K)``, at least 0.
        images: labels of the pictures ``(M, K)``.
        sharpness: factor of the cosine.
    """
    from torch.nn import functional

    near = functional.normalize(texts, dim=1) @ functional.normalize(images, dim=1).T
    near = (sharpness * near).to(scores.dtype)
    return (
        functional.cross_entropy(scores, near.softmax(dim=1))
        + functional.cross_entropy(scores.T, near.T.softmax(dim=1))
    ) / 2


def evidential(scores: Any, alike: Any, *, ramp: float) -> Any:
    """RetiZero's loss: CLIP's, and both ways' expected cross-entropy under Dirichlet distributions.

    With ``e = softplus(s)``, ``a = e + 1``, ``S = sum a`` and shares ``y``, each row gives
    ``sum y (psi(S) - psi(a)) + ramp KL(Dir(a without the evidence of what is right) || Dir(1))``.

    Source: Wang et al. 2025, "Enhancing diagnostic accuracy in rare and common fundus diseases with
    a knowledge-rich vision-language model" (RetiZero), Nature Communications; Sensoy et al. 2018,
    "Evidential deep learning to quantify classification uncertainty", NeurIPS.

    Args:
        scores: ``(N, N)``.
        alike: ``(N, N)``; of the source the identity.
        ramp: weight of the divergence, 0 to 1.
    """
    alike = alike.to(scores.dtype)
    rows = _dirichlet(scores, alike, ramp) + _dirichlet(scores.T, alike.T, ramp)
    return soft(scores, alike) + rows


def _dirichlet(scores: Any, alike: Any, ramp: float) -> Any:
    import torch
    from torch.nn import functional

    alpha = functional.softplus(scores) + 1
    total = alpha.sum(dim=1, keepdim=True)
    risk = (_shares(alike) * (torch.digamma(total) - torch.digamma(alpha))).sum(dim=1)
    wrong = (alpha - 1) * (alike == 0) + 1
    sums = wrong.sum(dim=1, keepdim=True)
    count = torch.tensor(float(alpha.shape[1]), dtype=alpha.dtype, device=alpha.device)
    spread = ((wrong - 1) * (torch.digamma(wrong) - torch.digamma(sums))).sum(dim=1)
    divergence = torch.lgamma(sums)[:, 0] - torch.lgamma(wrong).sum(dim=1) - torch.lgamma(count)
    return (risk + ramp * (divergence + spread)).mean()


def atlas(attention: Any, seen: Any, said: Any) -> Any:
    """KeepFIT's loss without its weight: an atlas must say of a picture what was written of it.

    The first quarter of the batch is the atlas; with fewer than 4 pairs it is 0.

    Source: Wu et al. 2024, "MM-Retinal: knowledge-enhanced foundational pretraining with fundus
    image-text expertise", MICCAI.

    Args:
        attention: `osler.models.keepfit.ExpertAttention`.
        seen: embeddings of pictures ``(N, D)``.
        said: of their texts ``(N, D)``.
    """
    first = len(seen) // 4
    if not first:
        return 0 * seen.sum()
    told = attention(seen[None, first:], seen[None, :first], said[None, :first])[0]
    return (told - said[first:]).square().mean()


def likeness(texts: Any, images: Any, how: str) -> Any:
    """How much texts (rows) are right for pictures (columns), by their keywords.

    Args:
        texts: ``(N, K)`` of 0 and 1.
        images: ``(N, K)``.
        how: ``pairs``, ``same`` (equal sets) or ``shared`` (keywords of both over those of either);
            a pair of one case is always right.
    """
    import torch

    own = torch.eye(len(texts), device=texts.device)
    if how == "pairs":
        return own
    both = texts @ images.T
    either = texts.sum(dim=1)[:, None] + images.sum(dim=1)[None] - both
    share = both / either.clamp(min=1)
    if how == "same":
        share = ((both == either) & (either > 0)).float()
    return torch.maximum(share, own)


def _shares(weights: Any) -> Any:
    import torch

    return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
