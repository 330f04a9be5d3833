"""Every reader of the list meets damage: bytes changed, cut off, and lengths that lie.

The samples are small and sound; a reader that is added to the list without one fails here.
"""

import io
import shutil
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import edfio
import nibabel
import numpy as np
import oct_files
import openpyxl
import pytest
import SimpleITK
import xlwt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import dicom, encoded, scene
from text_files import docx, paragraph, pdf

from osler.errors import OslerError
from osler.io import load
from osler.io.readers import READERS
from osler.io.table_frame import from_values
from osler.io.table_out import write_table
from osler.record import Image

FILES = Path(__file__).parent / "files"
VOLUME = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
MOST_SECONDS, MOST_BYTES = 20.0, 150_000_000
"""For one small file; the machine may be busy, and imports count."""


def _edf() -> bytes:
    signal = edfio.EdfSignal(
        np.linspace(-1, 1, 200), 100, label="ECG II", physical_dimension="mV",
        physical_range=(-5, 5),
    )  # fmt: skip
    out = io.BytesIO()
    edfio.Edf([signal], annotations=[edfio.EdfAnnotation(0.5, None, "W")]).write(out)
    return out.getvalue()


def _wfdb(path: Path) -> Path:
    wave = (1000 * np.sin(np.arange(200) / 9)).astype("<i2")
    path.with_suffix(".dat").write_bytes(wave.tobytes())
    path.write_text(
        f"r 1 250 200\nr.dat 16 200/mV 16 0 {wave[0]} {wave.sum(dtype=np.int16)} 0 II\n"
    )
    return path


def _workbook(path: Path) -> Path:
    book = openpyxl.Workbook()
    book.active.append(["patient_id", "hb [g/dL]"])
    book.active.append(["p1", 7.5])
    book.save(path)
    return path


def _old_workbook(path: Path) -> Path:
    book = xlwt.Workbook()
    sheet = book.add_sheet("a")
    for column, (name, value) in enumerate({"patient_id": "p1", "hb [g/dL]": 7.5}.items()):
        sheet.write(0, column, name)
        sheet.write(1, column, value)
    book.save(str(path))
    return path


def _itk(path: Path) -> Path:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOLUME), str(path), useCompression=True)
    return path


def _nifti(path: Path) -> Path:
    nibabel.Nifti1Image(VOLUME, np.diag([1.0, 2, 3, 1])).to_filename(path)
    return path


CDA = (
    '<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody>'
    '<component><section><code code="18782-3"/><text>No lesion.</text></section></component>'
    "</structuredBody></component></ClinicalDocument>"
)
FHIR = (
    '{"resourceType": "Observation", "status": "final", "subject": {"reference": "Patient/1"}, '
    '"code": {"text": "Hb"}, "valueQuantity": {"value": 7.5, "code": "g/dL"}}'
)
HL7 = (
    "MSH|^~\\&|L|H|E|H|20240305||ORU^R01|1|P|2.5\rPID|1||P-1\rOBR|1|||1^x^L|||20240305\r"
    "OBX|1|NM|718-7^Hb^LN||7.5|g/dL|||||F\rOBX|2|TX|1^x^L||Impression: none.\r"
)
VCF = (
    "##fileformat=VCFv4.2\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    "1\t10\t.\tA\tG\t50\tPASS\t.\n"
)

Make = bytes | str | Callable[[Path], Path]
SAMPLES: dict[str, tuple[str, Make]] = {
    "dicom": ("a.dcm", dicom(scene())),
    "jpeg": ("a.jpg", encoded(scene(), "JPEG")),
    "png": ("a.png", encoded(scene(), "PNG")),
    "tiff": ("a.tif", encoded(scene(), "TIFF")),
    "bmp": ("a.bmp", encoded(scene(), "BMP")),
    "nifti": ("a.nii.gz", _nifti),
    "nrrd": ("a.nrrd", _itk),
    "metaimage": ("a.mha", _itk),
    "heyex-vol": ("a.vol", oct_files.vol(oct_files.cube())),
    "heyex-e2e": ("a.e2e", oct_files.e2e(np.full((4, 6, 8), 20_000, np.uint16))),
    "heyex-xml": (
        "scan.xml",
        lambda path: oct_files.heyex_xml(path.parent, np.full((4, 6, 8), 90, np.uint8)),
    ),
    "topcon": (
        "a.fda",
        oct_files.topcon(oct_files.raw_chunk(np.full((4, 6, 8), 900, np.uint16))),
    ),
    "zeiss-img": (
        "P1_Macular Cube 8x4_5-13-2014_10-30-5_OS_sn0001_cube_z.img",
        bytes(range(256)) * (4 * 8 * 1024 // 256),
    ),
    "edf": ("a.edf", _edf()),
    "wfdb": ("r.hea", _wfdb),
    "parquet": (
        "a.parquet",
        lambda path: write_table(from_values("x", ["id", "x [kg]"], [["a"], [1.5]]), path),
    ),
    "office": ("a.xlsx", _workbook),
    "office-97": ("a.xls", _old_workbook),
    "pdf": ("a.pdf", pdf(["FINDINGS: none"])),
    "fhir": ("a.json", FHIR),
    "hl7": ("a.hl7", HL7),
    "xml": ("a.xml", CDA),
    "gct": ("a.gct", "#1.2\n2\t2\nName\tDescription\ts1\ts2\nTP53\tna\t1.5\t2\nKRAS\tna\t2\t3\n"),
    "vcf": ("a.vcf", VCF),
    "h5ad": ("a.h5ad", lambda path: Path(shutil.copy(FILES / "anndata.h5ad", path))),
    "csv": ("a.csv", "patient_id,hb [g/dL],seen\np1,7.5,2020-01-02\n"),
    "text": ("a.txt", "FINDINGS: none.\nIMPRESSION: normal.\n"),
    "docx": ("a.docx", lambda path: docx(path, paragraph("FINDINGS: none"))),
}
"""Format, and a second kind of the zip archives, to a name and how the file is made."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    paths = {}
    for format, (name, made) in SAMPLES.items():
        path = tmp_path_factory.mktemp(format) / name
        if callable(made):
            made(path)
        else:
            path.write_bytes(made if isinstance(made, bytes) else made.encode())
        paths[format] = path
    return paths


def opened(path: Path) -> None:
    case = load(path)
    assert case.items or case.findings
    for item in case.items.values():
        if isinstance(item, Image):
            assert item.array.shape[1:] == item.shape


def test_every_reader_has_a_sample(sound: dict[str, Path]) -> None:
    assert {one.format for one in READERS} <= set(SAMPLES)
    for path in sound.values():
        opened(path)


LIES = [struct.pack("<I", value) for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x00FFFFFF)]
LIES += [struct.pack("<Q", value) for value in (1 << 62, (1 << 64) - 1)]
LIES += [value[::-1] for value in LIES] + [b"999999999", b"-1", b"nan", b"1e999"]


@pytest.mark.parametrize("format", SAMPLES)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    at=st.floats(0, 1, exclude_max=True),
    other=st.one_of(st.sampled_from(LIES), st.binary(min_size=1, max_size=6)),
    keep=st.one_of(st.just(1.0), st.floats(0.01, 1)),
)
def test_damage_ends_in_our_errors(
    sound: dict[str, Path], format: str, at: float, other: bytes, keep: float
) -> None:
    path = sound[format]
    whole = path.read_bytes()
    start = int(at * len(whole))
    damaged = whole[:start] + other + whole[start + len(other) :]
    began = time.perf_counter()
    try:
        path.write_bytes(damaged[: max(1, int(keep * len(damaged)))])
        opened(path)
    except OslerError:
        pass
    finally:
        path.write_bytes(whole)
    assert time.perf_counter() - began < MOST_SECONDS


@pytest.mark.parametrize("format", SAMPLES)
def test_lengths_that_lie_take_no_memory(sound: dict[str, Path], format: str) -> None:
    path = sound[format]
    whole = path.read_bytes()
    for at in range(0, min(len(whole), 96), 8):
        path.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        tracemalloc.start()
        try:
            opened(path)
        except OslerError:
            pass
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            path.write_bytes(whole)
        assert most < MOST_BYTES, at
