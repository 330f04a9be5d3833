"""The ordered list of readers: what is read, by which first bytes, and what is kept of it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol

from osler.io import oct_signatures, record_signatures, signatures
from osler.io.content import Content
from osler.io.input_file import InputFile
from osler.io.signal_wfdb_header import is_wfdb_header


class Read(Protocol):
    """Reads an opened file."""

    def __call__(self, file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Content:
        """Read it; an image of more than ``max_pixels`` pixels (or voxels) is refused."""


@dataclass(frozen=True, slots=True)
class Reader:
    """One kind of file that is read.

    Attributes:
        format: its name, as ``Origin.format`` gives it.
        accepts: whether a file with these first bytes is of the kind.
        read: reads it.
        options: names of the further options of ``load`` that ``read`` takes.
        extensions: what the file's name must end in as well, for text without a signature; empty
            where the content alone decides.
        kind: of what it mostly gives.
        title: what a person calls it.
        keeps: what of the file is in the case.
        drops: what of it is not read, or refused.
        waits: whether ``read`` takes ``at_once``, and can leave pixels in the file without it that
            it decodes at once by default.
    """

    format: str
    accepts: Callable[[bytes], bool]
    read: Read
    options: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    kind: Literal["image", "signal", "table", "text"] = "image"
    title: str = ""
    keeps: str = ""
    drops: str = ""
    waits: bool = False


def _dicom(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Content:
    from osler.io.dicom_findings import read_findings
    from osler.io.dicom_image import read_dicom

    content = read_findings(file, format, max_pixels=max_pixels)
    if content is not None:
        return content
    return read_dicom(file, format, max_pixels=max_pixels, **options)


def _raster(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Content:
    from osler.io.raster import read_raster

    image, patient_id = read_raster(file, format, max_pixels=max_pixels, **options)
    return Content([image], patient_id=patient_id)


def _by(module: str, function: str) -> Read:
    """A reader that is imported when it is first needed."""

    def read(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Content:
        reader: Read = getattr(import_module(f"osler.io.{module}"), function)
        return reader(file, format, max_pixels=max_pixels, **options)

    return read


def _image_by(module: str, function: str) -> Read:
    """As ``_by``, for a reader that gives one image."""

    def read(file: InputFile, format: str, *, max_pixels: int, **options: Any) -> Content:
        reader = getattr(import_module(f"osler.io.{module}"), function)
        return Content([reader(file, format, max_pixels=max_pixels, **options)])

    return read


_CSV_OPTIONS = (
    "rate", "orientation", "encoding", "delimiter", "decimal", "missing", "case", "id_column",
)  # fmt: skip

_TABLE_OPTIONS = ("missing", "case", "id_column")

READERS: tuple[Reader, ...] = (
    # DICOM first: a file may be DICOM and TIFF at once (PS3.10 7.1), and DICOM says more
    Reader(
        "dicom",
        signatures.is_dicom,
        _dicom,
        ("allow_tilt", "allow_irregular"),
        title="DICOM: images, series, films, waveforms, segmentations, reports, documents",
        keeps="values after rescale with their unit, place, spacing, times, side, window, overlays "
        "as findings, the whole header but for pixels; statements of other objects as findings",
        drops="video codecs, whole slide images, companded waveforms; names of observers",
        waits=True,
    ),
    Reader(
        "jpeg",
        signatures.is_jpeg,
        _raster,
        ("resolution",),
        title="JPEG",
        keeps="the picture in sRGB by its embedded profile, turned upright; when it was taken",
        drops="resolution, a printer's, unless asked for; the rest of EXIF",
        waits=True,
    ),
    Reader(
        "png",
        signatures.is_png,
        _raster,
        ("resolution",),
        title="PNG",
        keeps="the picture in 8 or 16 bits of grey, or sRGB of 8",
        drops="transparency, resolution unless asked for, further frames; 16 bits of colour become "
        "8",
        waits=True,
    ),
    Reader(
        "tiff",
        signatures.is_tiff,
        _raster,
        ("resolution",),
        title="TIFF, BigTIFF, OME-TIFF, ImageJ and Aperio stacks",
        keeps="integers and floats, alike pages as a volume, spacing and times of OME, ImageJ and "
        "Aperio; pages of any size by window",
        drops="pages that are not alike, smaller copies of the picture, place in the patient",
        waits=True,
    ),
    Reader(
        "bmp",
        signatures.is_bmp,
        _raster,
        ("resolution",),
        title="BMP",
        keeps="the picture in sRGB or grey of 8 bits",
        drops="resolution unless asked for",
        waits=True,
    ),
    Reader(
        "nifti",
        signatures.is_nifti,
        _image_by("nifti", "read_nifti"),
        ("prefer",),
        title="NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr + .img)",
        keeps="values after scaling, place, spacing, times, every header field and extension",
        drops="complex numbers; Analyze 7.5, which does not say left from right",
    ),
    Reader(
        "nrrd",
        signatures.is_nrrd,
        _image_by("nrrd", "read_nrrd"),
        title="NRRD (.nrrd, .nhdr + data)",
        keeps="values, place, spacing, times, unit, every field and key/value pair",
        drops="text and hexadecimal encodings, block types",
    ),
    Reader(
        "metaimage",
        signatures.is_metaimage,
        _image_by("metaimage", "read_metaimage"),
        title="MetaImage (.mha, .mhd + data)",
        keeps="values, place, spacing, channels, every other field",
        drops="text encoding; spatial objects that are no image",
    ),
    Reader(
        "heyex-vol",
        oct_signatures.is_vol,
        _by("oct_vol", "read_vol"),
        title="Heidelberg .vol (OCT)",
        keeps="B-scans, infrared image, side, spacing, places of the B-scans, boundaries of layers",
        drops="thickness grids",
    ),
    Reader(
        "heyex-e2e",
        oct_signatures.is_e2e,
        _by("oct_e2e", "read_e2e"),
        title="Heidelberg .e2e (OCT)",
        keeps="B-scans and infrared image of each series, side, depth of a pixel, boundaries of "
        "layers",
        drops="diagnoses and measurements; the width of a pixel is not stated",
    ),
    Reader(
        "heyex-xml",
        oct_signatures.is_heyex_xml,
        _by("oct_heyex_xml", "read_heyex_xml"),
        title="Heidelberg XML export (OCT)",
        keeps="B-scans, infrared image, side, spacing, places of the B-scans, boundaries of layers",
        drops="thickness grids",
    ),
    Reader(
        "topcon",
        oct_signatures.is_topcon,
        _by("oct_topcon", "read_topcon"),
        title="Topcon .fda and .fds (OCT)",
        keeps="B-scans, colour photograph, side, spacing",
        drops="boundaries of layers; which B-scan lies where",
    ),
    Reader(
        "zeiss-img",
        bool,
        _by("oct_zeiss", "read_zeiss"),
        ("bscans",),
        ("img",),
        title="Zeiss Cirrus .img (OCT)",
        keeps="B-scans; size and side as the file's name states them",
        drops="everything that only the device's database holds",
    ),
    Reader(
        "edf",
        record_signatures.is_edf,
        _by("signal_edf", "read_edf"),
        kind="signal",
        title="EDF, EDF+, BDF, BDF+",
        keeps="every signal with rate and unit, gaps as missing samples, annotations as markers",
        drops="names and identifiers in the header",
    ),
    Reader(
        "wfdb",
        is_wfdb_header,
        _by("signal_wfdb", "read_wfdb"),
        kind="signal",
        title="WFDB record (.hea + .dat or .mat)",
        keeps="signals in physical units, segments, annotations as markers; age, sex and diagnoses",
        drops="names in comments",
    ),
    Reader(
        "wfdb",
        bool,
        _by("signal_wfdb", "read_beside"),
        (),
        ("dat", "mat"),
        "signal",
        title="WFDB samples with the header beside them",
        keeps="as the header's",
        drops="as the header's",
    ),
    Reader(
        "parquet",
        record_signatures.is_parquet,
        _by("table_reading", "read_table_file"),
        _TABLE_OPTIONS,
        kind="table",
        title="Parquet",
        keeps="typed variables, units in names, missing values, dates",
        drops="nested columns",
    ),
    Reader(
        "office",
        record_signatures.is_zip,
        _by("office_zip", "read_office"),
        (*_TABLE_OPTIONS, "sheet"),
        kind="table",
        title="Excel (.xlsx) and Word (.docx)",
        keeps="a sheet as a table with types, or the words of a document with its sections",
        drops="formulas (their stored value is taken), macros, formatting, pictures, notes",
    ),
    Reader(
        "office-97",
        record_signatures.is_compound,
        _by("office_ole", "read_old_office"),
        (*_TABLE_OPTIONS, "sheet"),
        # programs of every kind write compound files, Windows a "Thumbs.db" into each folder
        ("xls", "xlt", "doc", "dot", "ppt", "pps"),
        kind="table",
        title="Excel of before 2007 (.xls)",
        keeps="a sheet as a table with types",
        drops="formulas (their stored value is taken), formatting, notes; Word and PowerPoint of "
        "before 2007, which are refused",
    ),
    Reader(
        "pdf",
        record_signatures.is_pdf,
        _by("text_pdf", "read_pdf"),
        kind="text",
        title="PDF with text",
        keeps="the text and its sections",
        drops="layout, pictures; scanned pages, which hold no text",
    ),
    Reader(
        "fhir",
        record_signatures.is_fhir,
        _by("table_fhir", "read_fhir"),
        ("case",),
        kind="table",
        title="FHIR R4 JSON, NDJSON and XML: Observation, DiagnosticReport, bundles of them",
        keeps="values with code, unit and time; texts of reports with sections",
        drops="other resources, entries entered in error, names",
    ),
    Reader(
        "hl7",
        record_signatures.is_hl7,
        _by("hl7_messages", "read_hl7"),
        ("case", "encoding"),
        kind="table",
        title="HL7 version 2 messages with results (ORU, OUL, MDM), single or in batches",
        keeps="values with code, unit and time, sex; texts of reports with sections",
        drops="other messages, withdrawn results, notes, embedded documents, names",
    ),
    Reader(
        "xml",
        record_signatures.is_xml,
        _by("text_xml", "read_xml"),
        kind="text",
        title="HL7 CDA and plain XML reports",
        keeps="the text, and sections by LOINC code or heading",
        drops="coded entries, style sheets; entities and outside references are refused",
    ),
    Reader(
        "gct",
        record_signatures.is_gct,
        _by("omics_matrix", "read_gct"),
        kind="table",
        title="GCT expression matrix",
        keeps="samples by features, names, missing values",
        drops="further annotations of rows and columns",
    ),
    Reader(
        "vcf",
        record_signatures.is_vcf,
        _by("omics_vcf", "read_vcf"),
        kind="table",
        title="VCF, plain or gzipped",
        keeps="counts of variants by kind, and of genotypes by sample",
        drops="the single variants, which are counted",
    ),
    Reader(
        "h5ad",
        record_signatures.is_hdf5,
        _by("omics_h5ad", "read_h5ad"),
        ("features",),
        kind="table",
        title="AnnData (.h5ad)",
        keeps="the main matrix, dense or sparse, with names of samples and features",
        drops="layers, embeddings, graphs, unstructured annotations",
    ),
    Reader(
        "csv",
        record_signatures.is_plain_text,
        _by("table_reading", "read_csv"),
        _CSV_OPTIONS,
        ("csv", "tsv", "tab"),
        "table",
        title="CSV and TSV: tables, signals with a rate, matrices",
        keeps="typed variables, units in names, missing values, dates; samples with their rate",
        drops="nothing; what may mean two things is refused until an option says which",
    ),
    Reader(
        "text",
        record_signatures.is_plain_text,
        _by("text_reading", "read_plain"),
        ("encoding",),
        ("txt", "text", "md"),
        "text",
        title="Plain text",
        keeps="the text and its sections, in English and Chinese",
        drops="nothing",
    ),
)
"""What is read, in the order in which it is tried."""


def reader_for(head: bytes, extension: str = "") -> Reader | None:
    """The first reader that accepts a file with these first bytes, or None.

    Args:
        head: the first bytes.
        extension: of the file's name, in lower case and without the dot, for those readers that
            need it.
    """
    for reader in READERS:
        if reader.extensions and extension not in reader.extensions:
            continue
        if reader.accepts(head):
            return reader
    return None
