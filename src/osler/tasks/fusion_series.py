"""A cine as an input: its frames on each other, at the moments of one course.

The frames are registered to the first, so that what remains is the motion of interest or the
passage of contrast, and laid beside a course by dynamic time warping of their mean value. The
course is that of the teaching case that is nearest to all the others (their medoid), so that the
same moment of any case has the same place in the array.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from osler.record import Image
from osler.tasks.fusion_settings import FusedSeries
from osler.tasks.image_input import adjusted, resized
from osler.tasks.registration_warp import Scale
from osler.tasks.time_alignment import aligned_in_time, curve_of, retimed, steadied

_MOST_COMPARED = 40  # teaching cases among which the nearest to all is looked for

Floats = NDArray[np.float64]


def course_of(image: Image, frames: int) -> Floats:
    """The mean value of each frame at so many moments, evenly, with mean 0 and deviation 1.

    Raises:
        InputError: the image has no time axis.
    """
    curve = curve_of(image)
    places = np.linspace(0, len(curve) - 1, frames)
    even = np.interp(places, np.arange(len(curve)), curve)
    return np.asarray((even - even.mean()) / max(float(even.std()), 1e-12), np.float64)


def planned_course(courses: Sequence[Floats]) -> list[float]:
    """The course that costs least to lay beside the others.

    Raises:
        MissingExtraError: dtaidistance is not installed.
    """
    some = list(courses[:_MOST_COMPARED])
    if len(some) < 2:
        return [float(one) for one in some[0]]
    cost = np.zeros((len(some), len(some)))
    for i, one in enumerate(some):
        for j in range(i):
            cost[i, j] = cost[j, i] = aligned_in_time(one, some[j]).cost
    return [float(one) for one in some[int(cost.sum(axis=1).argmin())]]


def encoded_series(image: Image, wanted: FusedSeries) -> NDArray[np.float32]:
    """``(1, T, H, W)``, values with mean 0 and deviation 1.

    Raises:
        InputError: the image has no time axis, or fewer than four moments.
        MissingExtraError: SimpleITK or dtaidistance is not installed.
    """
    grey = image.array.mean(axis=0, keepdims=True, dtype=np.float32)
    series = replace(image, array=grey, channels=())
    if wanted.steady:
        scale: Scale = "pixels" if series.spacing is None else "millimetres"
        series = steadied(series, method=wanted.method, scale=scale).series
    course = np.array(wanted.course) if wanted.course else course_of(series, wanted.frames)
    pair = aligned_in_time(course, curve_of(series))
    laid = retimed(series, pair, times=tuple(float(k) for k in range(len(course))))
    size = (wanted.frames, *wanted.size)
    return adjusted(resized(laid.array, size), wanted.usual)
