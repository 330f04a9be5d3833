"""A small CT series as files and as the image that it is, turned in the patient.

Its frames have 77 pixels, so that packed bits of one frame start in the middle of a byte.
"""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from osler.io.contour_fill import fill_plane
from osler.io.dicom_header import as_json
from osler.record import Contour, Image, Mask, Origin, Source
from osler.record.code import Code

SHAPE = (6, 7, 11)
SPACING = (2.5, 0.8, 0.7)
ACROSS = np.array([0.8, 0.6, 0.0])
DOWN = np.array([0.0, 0.0, -1.0])
START = np.array([-20.0, 35.5, 12.25])
FRAME = generate_uid(entropy_srcs=["frame"])


def affine() -> np.ndarray:
    out = np.eye(4)
    normal = np.cross(ACROSS, DOWN)
    out[:3, 0], out[:3, 1], out[:3, 2] = normal * 2.5, DOWN * 0.8, ACROSS * 0.7
    out[:3, 3] = START
    return out


def series(shape: tuple[int, int, int] = SHAPE) -> list[Dataset]:
    """The data sets, in the order of the planes."""
    out = []
    for plane in range(shape[0]):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid(entropy_srcs=["instance", str(plane)])
        ds.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
        ds.SeriesInstanceUID = generate_uid(entropy_srcs=["series"])
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = FRAME, None
        ds.Modality, ds.Manufacturer = "CT", "Maker"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Müller^Jürgen", "CT-1", "19600102"
        ds.PatientSex, ds.AccessionNumber, ds.StudyID = "M", "A1", "S1"
        ds.StudyDate, ds.StudyTime = "20240506", "070809"
        ds.ContentDate, ds.ContentTime = "20240506", "070809"
        ds.ReferringPhysicianName, ds.KVP, ds.AcquisitionNumber = None, "120", 1
        ds.SeriesNumber, ds.InstanceNumber = 3, plane + 1
        ds.SliceThickness = 2.5
        ds.ImagePositionPatient = [float(v) for v in (affine() @ [plane, 0, 0, 1])[:3]]
        ds.ImageOrientationPatient = [*ACROSS.tolist(), *DOWN.tolist()]
        ds.PixelSpacing = [0.8, 0.7]
        ds.Rows, ds.Columns = shape[1:]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
        ds.PixelData = (np.arange(shape[1] * shape[2]) + plane).astype("<i2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        out.append(ds)
    return out


def write_series(folder: Path, shape: tuple[int, int, int] = SHAPE) -> Image:
    """Write the files, and give the image that a reader makes of them."""
    paths = []
    stored = np.zeros((1, *shape), np.float32)
    for plane, ds in enumerate(series(shape)):
        path = folder / f"{plane:03}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(str(path))
        stored[0, plane] = ds.pixel_array - 1024
    first = pydicom.dcmread(io.BytesIO(Path(paths[0]).read_bytes()), stop_before_pixels=True)
    origin = Origin(paths[0], "0" * 64, "dicom", as_json(first), tuple(paths))
    return Image(
        "ct",
        stored,
        modality="CT",
        spacing=SPACING,
        affine=affine(),
        origin=origin,
        units="[hnsf'U]",
    )


def turned(image: Image) -> Image:
    """The same voxels with the planes the other way round, as another reader might sort them."""
    matrix = image.affine.copy()
    matrix[:3, 3] = (image.affine @ [image.shape[0] - 1, 0, 0, 1])[:3]
    matrix[:3, 0] *= -1
    files = tuple(reversed(image.origin.files))
    origin = replace(image.origin, files=files, path=files[0])
    return Image(
        "ct", image.array[:, ::-1].copy(), "CT", SPACING, matrix, origin=origin, units=image.units
    )


def masks(shape: tuple[int, int, int] = SHAPE, *, seed: int = 0) -> list[Mask]:
    """Two organs that do not touch the first and last plane, and one voxel in a corner."""
    rng = np.random.default_rng(seed)
    source = Source("bundle", "organs", "2.0.0")
    anatomy = Code("123037004", "SCT", "Anatomical Structure")
    liver, spleen = np.zeros(shape, bool), np.zeros(shape, bool)
    liver[1:4] = rng.random((3, *shape[1:])) < 0.4
    spleen[2:5] = (rng.random((3, *shape[1:])) < 0.4) & ~liver[2:5]
    corner = np.zeros(shape, bool)
    corner[-1, -1, -1] = True
    codes = {
        "liver": Code("10200004", "SCT", "Liver"),
        "spleen": Code("78961009", "SCT", "Spleen"),
        "kidney": Code("64033007", "SCT", "Kidney"),
    }
    pixels = {"liver": liver, "spleen": spleen, "kidney": corner}
    return [
        Mask(
            id=id,
            name=id.capitalize(),
            source=source,
            item="ct",
            mask=pixels[id],
            code=code,
            category=anatomy,
            laterality="L" if id == "kidney" else None,
        )
        for id, code in codes.items()
    ]


def filled(contour: Contour, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """What the rings of a contour in pixels enclose, by the even-odd rule."""
    out = np.zeros((1,) * (3 - len(shape)) + shape, bool)
    for plane in range(len(out)):
        rings = [r[:, -2:] for r in contour.rings if r.shape[1] == 2 or r[0, 0] == plane]
        out[plane] = fill_plane(rings, shape[-2:])
    return out.reshape(shape)
