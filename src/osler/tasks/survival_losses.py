"""Losses of times to an event (torch): Cox's partial likelihood and the hazards of intervals.

Sources: (1) Katzman et al. 2018, "DeepSurv: personalized treatment recommender system using a Cox
proportional hazards deep neural network", BMC Medical Research Methodology 18:24; (2) Efron 1977,
as in ``survival_models``; Breslow 1974, "Covariance analysis of censored survival data", Biometrics
30:89-99; (3) Gensheimer & Narasimhan 2019, PeerJ 7:e6257; (4) Lee et al. 2018,
"DeepHit: a deep learning approach to survival analysis with competing risks", AAAI, whose
likelihood this is for several causes, said by hazards (its ranking loss is left out).
"""

from typing import Any, Literal


def cox_loss(
    scores: Any, times: Any, causes: Any, *, ties: Literal["efron", "breslow"] = "efron"
) -> Any:
    """The mean over events of the negative log partial likelihood with Efron's or Breslow's ties.

    Those at risk are those of the batch, so batches should be large. Without an event it is 0.

    Args:
        scores: ``(B, K)`` log hazard ratio of each cause.
        times: ``(B,)``.
        causes: ``(B,)`` from 1; 0 is censored.
        ties: of ``d`` events of one time each next one finds ``1/d`` of their weight gone
            (``efron``), or each finds them all at risk (``breslow``).
    """
    import torch

    total, count = scores.sum() * 0, 0
    later = times[None] >= times[:, None]
    same = times[None] == times[:, None]
    order = torch.arange(len(times), device=times.device)
    for k in range(scores.shape[1]):
        event = causes == k + 1
        if not bool(event.any()):
            continue
        score = scores[:, k]
        tied = same & event[None]
        # the n-th of d tied events finds n/d of what they weigh gone
        place = (tied & (order[None] < order[:, None])).sum(dim=1)
        share = place / tied.sum(dim=1).clamp(min=1)
        weight = later.to(score)
        if ties == "efron":
            weight = weight - share[:, None].to(score) * tied.to(score)
        there = torch.where(weight > 0, score[None], -torch.inf)
        top = there.detach().max(dim=1, keepdim=True).values  # the case itself is always at risk
        whole = (weight * (there - top).exp()).sum(dim=1).log() + top[:, 0]
        total = total - (score[event] - whole[event]).sum()
        count += int(event.sum())
    return total / max(count, 1)


def interval_loss(scores: Any, survived: Any, happened: Any) -> Any:
    """The mean over cases of the negative log likelihood of `interval_targets`.

    Args:
        scores: ``(B, J, K)``; hazards are their softmax beside a score of 0 for staying.
        survived: ``(B, J)``.
        happened: ``(B, J, K)``.
    """
    import torch
    from torch.nn import functional

    stay = torch.zeros_like(scores[..., :1])
    log = functional.log_softmax(torch.cat([stay, scores], dim=-1), dim=-1)
    likelihood = (survived * log[..., 0]).sum(dim=1) + (happened * log[..., 1:]).sum(dim=(1, 2))
    return -likelihood.mean()
