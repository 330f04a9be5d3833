"""Small DICOM images with text drawn into their pixels, in any transfer syntax."""

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

TEXT = "SMITH^JOHN 1950-02-03"
NAMES = {
    "native": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "big-endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg-12": "1.2.840.10008.1.2.4.51",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "j2k": "1.2.840.10008.1.2.4.90",
    "j2k-lossy": "1.2.840.10008.1.2.4.91",
    "htj2k": "1.2.840.10008.1.2.4.201",
}


def picture(*, bits: int = 8, colour: bool = False, text: str = TEXT, seed: int = 0) -> Any:
    """``(H, W)`` or ``(H, W, 3)``, smooth grey noise with a line of text at the top left."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 120, (12, 16), np.uint8))
    image = coarse.resize((256, 192), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    if text:
        draw.text((6, 6), text, fill=235, font=ImageFont.load_default(14))
    array = np.asarray(image)
    if bits > 8:
        array = array.astype(np.uint16) << (bits - 8)
    return np.stack([array] * 3, axis=-1) if colour else array


def encoded(frame: Any, name: str, bits: int) -> bytes:
    """One frame in a compressed syntax."""
    colour = frame.ndim == 3
    if name == "rle":
        from pydicom.pixels.encoders import RLELosslessEncoder

        return RLELosslessEncoder.encode(
            frame,
            rows=frame.shape[0],
            columns=frame.shape[1],
            samples_per_pixel=3 if colour else 1,
            bits_allocated=frame.dtype.itemsize * 8,
            bits_stored=bits,
            pixel_representation=0,
            photometric_interpretation="RGB" if colour else "MONOCHROME2",
            number_of_frames=1,
            planar_configuration=0,
        )
    if name == "jpeg":
        more = {"outcolorspace": "YCBCR", "subsampling": "422"} if colour else {}
        return imagecodecs.jpeg8_encode(frame, 90, **more)
    if name == "jpeg-12":
        return imagecodecs.jpeg8_encode(frame, 90, bitspersample=12)
    if name == "jpeg-lossless":
        return imagecodecs.jpeg8_encode(frame, lossless=True, predictor=1, bitspersample=bits)
    if name == "jpeg-ls":
        return imagecodecs.jpegls_encode(frame)
    if name == "htj2k":
        return imagecodecs.htj2k_encode(frame, reversible=True)
    lossless = name == "j2k"
    return imagecodecs.jpeg2k_encode(
        frame, 0 if lossless else 60, codecformat="j2k", reversible=lossless, bitspersample=bits
    )


def dataset(frames: list[Any], name: str, *, bits: int = 8) -> Dataset:
    """A secondary capture (multi-frame where there are several), with an identity in its header."""
    colour = frames[0].ndim == 3
    several = len(frames) > 1
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7" + (".2" if several else "")
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (
        "1.2.3.44.5",
        "1.2.3.44",
        "1.2.3.45",
    )
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "SMITH^JOHN", "HOSP-778899", "19500203"
    ds.Modality, ds.ConversionType = "OT", "WSD"
    ds.Rows, ds.Columns = frames[0].shape[:2]
    ds.SamplesPerPixel = 3 if colour else 1
    kind = {"jpeg": "YBR_FULL_422", "j2k": "YBR_RCT", "j2k-lossy": "YBR_ICT", "htj2k": "YBR_RCT"}
    ds.PhotometricInterpretation = kind.get(name, "RGB") if colour else "MONOCHROME2"
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    if several:
        ds.NumberOfFrames = len(frames)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(NAMES[name])
    meta.SourceApplicationEntityTitle = "HOSP-778899"
    ds.file_meta = meta
    if meta.TransferSyntaxUID.is_compressed and name != "deflated":
        ds.PixelData = encapsulate([encoded(f, name, bits) for f in frames])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"
    else:
        order = ">" if name == "big-endian" else "<"
        raw = b"".join(f.astype(f.dtype.newbyteorder(order)).tobytes() for f in frames)
        ds.PixelData = raw
        ds["PixelData"].VR = "OB" if bits <= 8 and name != "implicit" else "OW"
    return ds


def save(ds: Dataset, path: Path) -> Path:
    """Write a Part 10 file with a preamble that tells something."""
    ds.preamble = b"SMITH JOHN".ljust(128, b"\0")
    ds.save_as(path, enforce_file_format=True)
    return path
