"""The style of one image given to another: its low frequencies, its moments, its histogram.

Images are ``(B, C, ...)`` of two or three axes; image ``b`` takes the style of image ``b``.
"""

import torch
from torch import Tensor

TINY = 1e-6  # keeps the deviation of a flat channel from nought, as a variance


def fourier_style(images: Tensor, styles: Tensor, share: float) -> Tensor:
    """Images whose amplitudes of low frequencies are those of others (Yang & Soatto 2020).

    The phase stays, and with it what the image shows. The amplitude at frequency nought, which is
    the mean of a channel, is taken with its sign, so that it does not matter where the values'
    nought lies.

    Args:
        images: what is shown.
        styles: of the same shape.
        share: of the frequencies, on either side of nought, along each axis; ``beta`` of the paper.
    """
    axes = tuple(range(2, images.ndim))
    content = torch.fft.fftshift(torch.fft.fftn(images.float(), dim=axes), dim=axes)
    style = torch.fft.fftshift(torch.fft.fftn(styles.float(), dim=axes), dim=axes)
    reach = int(share * min(images.shape[2:]))
    middle = tuple(side // 2 for side in images.shape[2:])
    low = (..., *(slice(max(0, at - reach), at + reach + 1) for at in middle))
    changed = content.clone()
    changed[low] = torch.polar(style[low].abs(), content[low].angle())
    nought = (..., *middle)
    changed[nought] = style[nought]
    out = torch.fft.ifftn(torch.fft.ifftshift(changed, dim=axes), dim=axes).real
    return torch.as_tensor(out, dtype=images.dtype)


def moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of each image, ``(B, C, 1, ...)``."""
    axes = tuple(range(2, images.ndim))
    values = images.float()
    mean = values.mean(axes, keepdim=True)
    deviation = (values.var(axes, unbiased=False, keepdim=True) + TINY).sqrt()
    return mean.to(images.dtype), deviation.to(images.dtype)


def adain(images: Tensor, styles: Tensor, weight: Tensor | float = 0.0) -> Tensor:
    """Images with the means and deviations of others, or of between (Huang & Belongie 2017).

    No gradient flows through the moments, as in MixStyle (Zhou et al. 2021).

    Args:
        images: images or features.
        styles: of any size, with as many channels.
        weight: of the image's own moments, 0 to 1, for each image ``(B,)`` or for all.
    """
    mean, deviation = moments(images.detach())
    new_mean, new_deviation = moments(styles.detach())
    own = torch.as_tensor(weight, dtype=mean.dtype, device=images.device)
    own = own.reshape(-1, *(1,) * (images.ndim - 1))
    to_mean = own * mean + (1 - own) * new_mean
    to_deviation = own * deviation + (1 - own) * new_deviation
    return (images - mean) / deviation * to_deviation + to_mean


def match_histograms(images: Tensor, styles: Tensor) -> Tensor:
    """Images whose channels have the histograms of others (Gonzalez & Woods, section 3.3).

    A value goes to the value of the same cumulative share; equal values stay equal, and take the
    middle of the shares that they have.

    Args:
        images: what is shown.
        styles: of any size, with as many channels.
    """
    content, style = images.float().flatten(2), styles.float().flatten(2).sort(dim=2).values
    ordered = content.sort(dim=2).values.contiguous()
    below = torch.searchsorted(ordered, content.contiguous(), right=False)
    upto = torch.searchsorted(ordered, content.contiguous(), right=True)
    share = (below + upto).float() / (2 * content.shape[2])
    place = (share * style.shape[2] - 0.5).clamp(0, style.shape[2] - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=style.shape[2] - 1)
    out = torch.lerp(style.gather(2, low), style.gather(2, high), place - low)
    return out.reshape(images.shape).to(images.dtype)
