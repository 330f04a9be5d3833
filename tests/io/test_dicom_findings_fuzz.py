"""Damaged findings end in one of our errors, with whatever part of them is asked for."""

from pathlib import Path

import pytest
from fake_series import masks, series, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from osler.errors import InputError
from osler.io import load
from osler.io.dicom_pdf import write_document
from osler.io.dicom_seg_out import write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import Case, Image, Label, Mask, Measurement, Point, Source, Text

KINDS = ("binary", "fractional", "labelmap", "report", "structures", "drawings", "document")


def _structures() -> Dataset:
    ds, roi, drawn, contour = Dataset(), Dataset(), Dataset(), Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "A", "1.2"
    contour.ContourGeometricType, contour.ContourData = "CLOSED_PLANAR", [0, 0, 0, 1, 0, 0, 1, 1, 0]
    drawn.ReferencedROINumber, drawn.ContourSequence = 1, [contour]
    ds.StructureSetROISequence, ds.ROIContourSequence = [roi], [drawn]
    return ds


def _drawings() -> Dataset:
    ds, layer, words, graphic = Dataset(), Dataset(), Dataset(), Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    words.UnformattedTextValue = "Here"
    graphic.GraphicAnnotationUnits, graphic.GraphicType = "PIXEL", "ELLIPSE"
    graphic.GraphicData, graphic.NumberOfGraphicPoints = [1, 3, 9, 3, 5, 1, 5, 5], 4
    layer.TextObjectSequence, layer.GraphicObjectSequence = [words], [graphic]
    ds.GraphicAnnotationSequence = [layer]
    return ds


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sound")
    image = write_series(folder)
    out = {}
    for kind in ("binary", "fractional", "labelmap"):
        out[kind] = write_segmentation(masks(), image, folder / kind, kind=kind).read_bytes()
    source = Source("algorithm", "a", "1")
    case = Case("c", items={"ct": image})
    case.add(Measurement(id="m.x", name="M", source=source, item="ct", value=1.0, unit="mm"))
    case.add(Label(id="l", name="L", source=source, item="ct", value="v", probability=0.5))
    case.add(Point(id="p", name="P", source=source, item="ct", position=(1.0, 2.0, 3.0)))
    out["report"] = write_measurements(case, folder / "sr").read_bytes()
    out["document"] = write_document(Text("t", "Words."), folder / "doc").read_bytes()
    for name, ds in (("structures", _structures()), ("drawings", _drawings())):
        ds.SOPInstanceUID, ds.file_meta = generate_uid(), FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if name == "drawings" else ExplicitVRLittleEndian
        )
        ds.save_as(folder / name, enforce_file_format=True)
        out[name] = (folder / name).read_bytes()
    assert len(series()) == image.shape[0]
    return out


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_only_our_errors(
    tmp_path: Path, sound: dict[str, bytes], kind: str, data: st.DataObject
) -> None:
    content = bytearray(sound[kind])
    # the file meta information stays, so that the reader under test is the one that is reached
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(340, len(content) - 1))
        content[at : at + 1] = data.draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"A", b""]))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(132, len(content))))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(bytes(content[:end]))
    try:
        case = load(path, max_pixels=1_000_000)
        for mask in case.of(Mask):
            assert mask.mask.shape == mask.shape
            assert not mask.fractional or mask.probabilities.shape == mask.shape
        for item in case.items.values():
            assert not isinstance(item, Image) or item.array.size
    except InputError:
        pass
