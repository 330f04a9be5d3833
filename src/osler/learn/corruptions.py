"""Images and ECGs made worse on purpose, in five severities, to see what a network stands.

After Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR, with what befalls medical images in the place of weather. Sizes are shares of
an image's side and of its range of values (1st to 99th percentile), so one table serves any image.
Noise of an ECG has the signal-to-noise ratios of the noise stress test (Moody, Muldrow & Mark 1984,
"A noise stress test for arrhythmia detectors", Computers in Cardiology 11:381-384), and is drawn
here, for each channel by itself, instead of taken from its recordings.
"""

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

T = TypeVar("T")
Array = NDArray[Any]
Corruption = Callable[[NDArray[np.float64], int, np.random.Generator], NDArray[np.float64]]
SignalCorruption = Callable[
    [NDArray[np.float64], int, float, np.random.Generator], NDArray[np.float64]
]
SEVERITIES: Final = (1, 2, 3, 4, 5)

_BLUR = (0.01, 0.02, 0.03, 0.045, 0.06)  # standard deviation, of the shorter side
_NOISE = (0.04, 0.08, 0.12, 0.18, 0.26)  # standard deviation, of the range
_PATH = (0.04, 0.08, 0.12, 0.18, 0.25)  # length of a movement, of the shorter side
_LINES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of k-space, taken after the patient moved
_BIAS = (0.1, 0.2, 0.35, 0.5, 0.7)  # greatest logarithm of the gain
_QUALITY = (40, 25, 18, 12, 7)  # of JPEG
_DECIBELS = (24, 18, 12, 6, 0)  # signal to noise of an ECG
_LOST = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the channels of an ECG
_WANDER = (0.05, 0.5)  # Hz: breathing and slow movement
_MAINS = 50.0  # Hz
_MUSCLE = (20.0, 150.0)  # Hz
_RECOVERY = 0.4  # seconds in which a shifted baseline comes back
_KNOCKS = 1.0  # a second, of an electrode that moves


def _range(image: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(image, [1, 99])
    if high <= low:
        low, high = float(image.min()), float(image.max())
    return float(low), float(max(high - low, 1e-12))


def _side(image: NDArray[np.float64]) -> int:
    return int(min(image.shape[-2:]))


def blur(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Out of focus, or thick slices: a Gaussian in the plane."""
    del rng
    width = _BLUR[severity - 1] * _side(image)
    sigma = (*[0.0] * (image.ndim - 2), width, width)
    out: NDArray[np.float64] = ndimage.gaussian_filter(image, sigma, mode="nearest")
    return out


def noise(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Few photons: Gaussian noise."""
    _, span = _range(image)
    return image + rng.normal(0, _NOISE[severity - 1] * span, image.shape)


def rician_noise(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The magnitude of a complex signal with noise (Gudbjartsson & Patz 1995, MRM 34(6))."""
    _, span = _range(image)
    least = float(image.min())
    width = _NOISE[severity - 1] * span
    real = image - least + rng.normal(0, width, image.shape)
    return least + np.hypot(real, rng.normal(0, width, image.shape))


def speckle(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Ultrasound: noise that grows with the signal."""
    least = float(image.min())
    gain = 1 + rng.normal(0, 2 * _NOISE[severity - 1], image.shape)
    return least + (image - least) * gain


def motion_blur(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """A hand or a patient that moves during the exposure: the mean along a straight path."""
    from scipy.signal import fftconvolve

    length = _PATH[severity - 1] * _side(image)
    angle = rng.uniform(0, np.pi)
    count = 2 * int(np.ceil(length)) + 1
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for place in np.linspace(-0.5, 0.5, count):
        by = (reach + place * length * np.sin(angle), reach + place * length * np.cos(angle))
        first = [int(np.floor(one)) for one in by]
        parts = [(1 - one % 1, one % 1) for one in by]  # between neighbours, linear
        kernel[first[0] : first[0] + 2, first[1] : first[1] + 2] += np.outer(*parts) / count
    margin = (*[(0, 0)] * (image.ndim - 2), (reach, reach), (reach, reach))
    kernel = kernel.reshape(*[1] * (image.ndim - 2), *kernel.shape)
    wide = np.pad(image, margin, mode="edge")
    out: NDArray[np.float64] = fftconvolve(wide, kernel, mode="valid", axes=(-2, -1))
    return out


def motion_ghosts(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """MR: some lines of k-space are of the patient a little elsewhere."""
    height = image.shape[-2]
    moved = (rng.random(height) < _LINES[severity - 1]) & (np.arange(height) > 0)  # but the centre
    shift = rng.normal(0, _PATH[severity - 1] * _side(image) / 2, height)
    turn = np.exp(-2j * np.pi * np.fft.fftfreq(height) * shift * moved)
    space = np.fft.fft2(image, axes=(-2, -1)) * turn[:, None]
    least = float(image.min())
    out: NDArray[np.float64] = np.abs(np.fft.ifft2(space, axes=(-2, -1)))
    plain = np.abs(np.fft.ifft2(np.fft.fft2(image, axes=(-2, -1)), axes=(-2, -1)))
    return np.maximum(image + out - plain, least)


def bias_field(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """MR: a gain that changes slowly over the image, the exponential of a polynomial of order 3."""
    axes = [np.linspace(-1, 1, size) for size in image.shape[1:]]
    grids = np.meshgrid(*axes, indexing="ij")
    field = np.zeros(image.shape[1:])
    for powers in np.ndindex(*[4] * len(axes)):
        if 0 < sum(powers) <= 3:
            term = np.prod([grid**power for grid, power in zip(grids, powers, strict=True)], axis=0)
            field += rng.normal() * term
    field *= _BIAS[severity - 1] / max(float(np.abs(field).max()), 1e-12)
    least = float(image.min())
    return least + (image - least) * np.exp(field)


def jpeg(
    image: NDArray[np.float64], severity: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Compressed with loss, plane by plane."""
    from PIL import Image as Pillow

    del rng
    low, span = _range(image)
    bytes_ = np.clip(np.rint((image - low) / span * 255), 0, 255).astype(np.uint8)
    planes = bytes_.reshape(len(image), -1, *image.shape[-2:])
    out = np.empty_like(planes)
    for place in range(planes.shape[1]):
        plane = planes[:, place]
        colour = len(plane) == 3
        for channels in [slice(0, 3)] if colour else [slice(n, n + 1) for n in range(len(plane))]:
            part = plane[channels]
            kept = io.BytesIO()
            picture = Pillow.fromarray(part.transpose(1, 2, 0) if colour else part[0])
            picture.save(kept, "JPEG", quality=_QUALITY[severity - 1])
            read = np.asarray(Pillow.open(kept))
            out[channels, place] = read.transpose(2, 0, 1) if colour else read[None]
    return low + out.reshape(image.shape).astype(np.float64) / 255 * span


CORRUPTIONS: Final[Mapping[str, Mapping[str, Corruption]]] = MappingProxyType({
    "photograph": {"blur": blur, "noise": noise, "motion": motion_blur, "jpeg": jpeg},
    "radiograph": {"blur": blur, "noise": noise, "motion": motion_blur, "jpeg": jpeg},
    "ct": {"blur": blur, "noise": noise, "motion": motion_blur},
    "mr": {"blur": blur, "noise": rician_noise, "motion": motion_ghosts, "bias field": bias_field},
    "ultrasound": {"blur": blur, "noise": speckle, "motion": motion_blur, "jpeg": jpeg},
})  # fmt: skip
"""What befalls the images of each modality, by name."""


def corrupt(image: Array, name: str, severity: int, *, modality: str, seed: int) -> Array:
    """An image made worse.

    Args:
        image: ``(C, H, W)`` or ``(C, D, H, W)``, of any type, which it keeps.
        name: as `CORRUPTIONS` has it for the modality.
        severity: 1 to 5.
        modality: as `CORRUPTIONS` has it.
        seed: another one draws otherwise.

    Raises:
        ValueError: no such modality, corruption or severity, or another number of axes.
    """
    made = _known(CORRUPTIONS, modality, name, severity)
    if image.ndim not in (3, 4):
        raise ValueError(f"an image of the shape {image.shape}; expected (C, H, W) or (C, D, H, W)")
    out = made(image.astype(np.float64), severity, np.random.default_rng((seed, severity)))
    return _of_type(out, image.dtype)


def _scaled_noise(
    signal: NDArray[np.float64], noise: NDArray[np.float64], severity: int
) -> NDArray[np.float64]:
    """The noise ``(C, T)`` at the severity's ratio of signal to noise, channel by channel.

    As the noise stress test has it: the power of the signal is an eighth of its squared height from
    peak to peak (that of a sine), the power of the noise its mean square.
    """
    low, high = np.nanpercentile(signal, [0.1, 99.9], axis=1)
    wanted = (high - low) / np.sqrt(8) * 10 ** (-_DECIBELS[severity - 1] / 20)
    noise = noise - noise.mean(axis=1, keepdims=True)
    power = np.sqrt(np.square(noise).mean(axis=1, keepdims=True))
    return noise / np.maximum(power, 1e-12) * wanted[:, None]


def baseline_wander(
    signal: NDArray[np.float64], severity: int, rate: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Breathing and slow movement: waves of 0.05 to 0.5 Hz."""
    times = np.arange(signal.shape[1]) / rate
    noise = np.zeros_like(signal)
    for frequency in np.linspace(*_WANDER, 10):
        height, phase = rng.uniform(0, 1, len(signal)), rng.uniform(0, 2 * np.pi, len(signal))
        noise += height[:, None] * np.cos(2 * np.pi * frequency * times + phase[:, None])
    return signal + _scaled_noise(signal, noise, severity)


def power_line(
    signal: NDArray[np.float64], severity: int, rate: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The mains: 50 Hz and its third harmonic, as far as the sampling rate shows them."""
    times = np.arange(signal.shape[1]) / rate
    noise = np.zeros_like(signal)
    for order, height in ((1, 1.0), (3, 0.3)):
        if order * _MAINS < rate / 2:
            phase = rng.uniform(0, 2 * np.pi, (len(signal), 1))
            noise += height * np.cos(2 * np.pi * order * _MAINS * times + phase)
    return signal + _scaled_noise(signal, noise, severity)


def muscle_noise(
    signal: NDArray[np.float64], severity: int, rate: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Muscles under the electrodes: Gaussian noise of 20 to 150 Hz."""
    spectrum = np.fft.rfft(rng.normal(size=signal.shape), axis=1)
    frequencies = np.fft.rfftfreq(signal.shape[1], 1 / rate)
    spectrum[:, (frequencies < _MUSCLE[0]) | (frequencies > _MUSCLE[1])] = 0
    noise = np.fft.irfft(spectrum, signal.shape[1], axis=1)
    return signal + _scaled_noise(signal, noise, severity)


def electrode_motion(
    signal: NDArray[np.float64], severity: int, rate: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """An electrode that moves: about once a second the baseline jumps, and comes back slowly."""
    from scipy.signal import lfilter

    count, length = signal.shape
    jumps = np.where(rng.random((count, length)) < _KNOCKS / rate, rng.normal(size=signal.shape), 0)
    jumps[np.arange(count), rng.integers(0, length, count)] += 1  # one at least
    fade = np.exp(-1 / (_RECOVERY * rate))
    noise: NDArray[np.float64] = lfilter([1.0], [1.0, -fade], jumps, axis=1)
    return signal + _scaled_noise(signal, noise, severity)


def lead_loss(
    signal: NDArray[np.float64], severity: int, rate: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Electrodes that came off: some of the channels, one at least, are flat."""
    del rate
    out = signal.copy()
    lost = max(1, round(_LOST[severity - 1] * len(signal)))
    out[rng.permutation(len(signal))[:lost]] = 0
    return out


SIGNAL_CORRUPTIONS: Final[Mapping[str, Mapping[str, SignalCorruption]]] = MappingProxyType({
    "ecg": {
        "baseline wander": baseline_wander, "power line": power_line, "muscle noise": muscle_noise,
        "electrode motion": electrode_motion, "lead loss": lead_loss,
    },
})  # fmt: skip
"""What befalls the signals of each modality, by name."""


def corrupt_signal(
    signal: Array, name: str, severity: int, *, rate: float, modality: str = "ecg", seed: int
) -> Array:
    """A signal made worse.

    Args:
        signal: ``(C, T)``, of any type, which it keeps; samples that are NaN stay so.
        name: as `SIGNAL_CORRUPTIONS` has it for the modality.
        severity: 1 to 5.
        rate: samples a second (Hz).
        modality: as `SIGNAL_CORRUPTIONS` has it.
        seed: another one draws otherwise.

    Raises:
        ValueError: no such modality, corruption or severity, or another number of axes.
    """
    made = _known(SIGNAL_CORRUPTIONS, modality, name, severity)
    if signal.ndim != 2:
        raise ValueError(f"a signal of the shape {signal.shape}; expected (C, T)")
    out = made(signal.astype(np.float64), severity, rate, np.random.default_rng((seed, severity)))
    return _of_type(out, signal.dtype)


def _known(table: Mapping[str, Mapping[str, T]], modality: str, name: str, severity: int) -> T:
    if modality not in table:
        raise ValueError(f"no modality '{modality}'; there are: {', '.join(table)}")
    known = table[modality]
    if name not in known:
        raise ValueError(f"{modality} has no corruption '{name}'; there are: {', '.join(known)}")
    if severity not in SEVERITIES:
        raise ValueError(f"the severity is {severity}; it is 1 to 5")
    return known[name]


def _of_type(array: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Whole numbers are rounded, and end where their type does."""
    if not np.issubdtype(dtype, np.integer):
        return array.astype(dtype)
    bounds = np.iinfo(dtype)
    return np.clip(np.rint(array), bounds.min, bounds.max).astype(dtype)
