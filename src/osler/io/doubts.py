"""The readers' flags in plain words."""

from typing import Final

from osler.io.wording import plain

DOUBTS: Final = {
    "16-bit-scaled": "colour of 16 bits was brought to 8",
    "alpha-dropped": "transparency was dropped",
    "alpha-flattened": "transparency was laid on a plain background",
    "anatomical-orientation-differs": "the letters of orientation contradict the matrix, which is "
    "believed",
    "annotations-unreadable": "a file of annotations beside it could not be read",
    "bilevel-converted": "black and white became grey",
    "bscan-places-in-degrees": "positions of B-scans are stated in degrees only",
    "bscan-places-not-stated": "it is not stated where the B-scans lie",
    "bscan-step-differs": "the stated step of the B-scans is not that of their positions, which "
    "are believed",
    "bscans-unevenly-spaced": "the B-scans lie at unequal steps",
    "burned-in-annotation": "text is burnt into the pixels, and may name the patient",
    "channel-skew": "the channels were sampled one after another",
    "checksum-mismatch": "the samples do not add up to the header's checksum",
    "circular-scan": "the B-scan runs in a circle",
    "cmyk-converted": "ink colours (CMYK) became RGB",
    "colour-order-by-content": "red and blue were told apart by the picture",
    "edited-by-hand": "a person has moved what a program drew",
    "encoding-gb18030": "the text was read as GB18030",
    "error-cells": "cells with errors are missing values",
    "exif-orientation-applied": "turned upright as the camera says",
    "exif-unreadable": "the camera's header (EXIF) could not be read",
    "first-page-only": "further pages are not read",
    "formula-cells": "cells with formulas give the value stored with them",
    "gaps": "the recording has gaps, which are missing values",
    "icc-converted": "colours were converted to sRGB by the embedded profile",
    "icc-not-applied": "the embedded colour profile was not applied",
    "icc-unusable": "the embedded colour profile is damaged and was not applied",
    "laterality-both": "the file states both sides",
    "laterality-conflict": "the file states two different sides",
    "laterality-contradictory": "the file contradicts itself about the side",
    "laterality-not-stated": "the file does not state the side",
    "layers-left-out": "some boundaries of layers, or layers of values, are not read",
    "millimetres-assumed": "no unit of length is stated; millimetres were assumed",
    "monochrome1-inverted": "stored with white as 0, and turned round",
    "monochrome1-kept": "stored with white as 0, and kept for the sake of its unit",
    "no-lateral-scale": "the width of a pixel is not stated",
    "no-orientation": "no place in the patient is stated",
    "no-origin": "no origin in the patient is stated",
    "no-scale": "no distance from pixel to pixel is stated",
    "no-slice-thickness": "the distance between slices is not stated",
    "notes-left-out": "notes are not read",
    "overlays-left-out": "some overlays are not read",
    "pages-without-text": "some pages hold no text",
    "palette-converted": "palette colours became RGB",
    "photometric-mismatch": "the header and the pixels disagree about the colours; the pixels are "
    "believed",
    "pixel-padding": "some pixels are padding, with a value outside the picture",
    "prefers-none": "opened without a place in the patient, as you chose",
    "prefers-qform": "placed by the qform, as you chose",
    "prefers-sform": "placed by the sform, as you chose",
    "qform-sform-differ": "sform and qform differ by less than half a voxel; the sform is believed",
    "radial-scan": "the B-scans cross in one point",
    "rate-by-default": "no sampling rate is stated; the format's default was used",
    "reduced-resolution-page": "smaller copies of the picture are not read",
    "report-cut-off": "the report ends in the middle",
    "report-partial": "the report says that it is incomplete",
    "segments-overlap": "segments overlap, which an image of numbers cannot show",
    "sheared-axes": "the axes are not at right angles",
    "size-from-name": "the size was read from the file's name; the file has no header",
    "slices-irregular": "the slices are no regular grid, and have no place and no spacing",
    "slices-uneven": "the slices lie slightly unevenly",
    "spacing-at-detector": "the spacing is that at the detector, not in the patient",
    "spacing-implausible": "a size was stated that no such image has, and was not passed on",
    "tilted-gantry": "the gantry was tilted; the grid leans",
    "time-step-unknown": "points in time without a stated step",
    "tracked-changes": "tracked changes were read as accepted",
    "uncalibrated": "no gain is stated; the format's default, or none, was used",
    "unit-not-ucum": "a unit is not one of UCUM",
    "units-unknown": "some columns have no unit",
    "value-as-text": "some values are text, not numbers",
    "value-not-read": "some values could not be read",
    "vectors-as-stored": "vectors were not turned to the patient's axes",
    "wrong-extension": "the name's extension is that of another format",
}
"""Flag to what it says; flags that are not here are said by their name."""


def doubt(flag: str) -> str:
    """A flag in words."""
    if flag.startswith("bits-stored-"):
        return f"{flag.rpartition('-')[2]} bits of each value are in use"
    return DOUBTS.get(flag) or plain(flag)
