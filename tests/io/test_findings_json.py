import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import nrrd
import numpy as np
import pytest
from fake_case import Grading, Kind, fake_case
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from osler.errors import InputError, UnreadableError, UnsupportedError
from osler.io.findings_json import FILE, SCHEMA, as_document, read_findings
from osler.io.writing import write
from osler.record import (
    Box,
    Case,
    Code,
    Contour,
    DerivedImage,
    Event,
    Finding,
    Heatmap,
    Image,
    Label,
    Markers,
    Mask,
    Measurement,
    Point,
    Risk,
    Source,
    Status,
    Transform,
    describe,
)
from photo_case import photo_case

ME = Source("person", "grader")
checker = jsonschema.Draft202012Validator(
    json.loads(SCHEMA.read_text("utf-8")),
    format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
)


def checked(case: Case) -> dict[str, Any]:
    """The document, checked as a reader gets it."""
    document = json.loads(json.dumps(as_document(case), allow_nan=False))
    checker.validate(document)
    return document


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(checker.schema)


@pytest.mark.parametrize("kind", ["jpeg", "dicom-op", "dicom-grey"])
@pytest.mark.parametrize("grading", ["graded", "reject", "not-fundus"])
def test_every_fake_case_is_as_the_schema_says(
    tmp_path: Path, kind: Kind, grading: Grading
) -> None:
    checked(fake_case(tmp_path, kind=kind, grading=grading, patient_id="p1"))


def test_a_real_case_is_as_the_schema_says(data_dir: Path) -> None:
    assert len(checked(photo_case(data_dir))["findings"]) > 60


def every_kind() -> Case:
    case = Case(id="all", patient_id=None)
    code = Code("5665001", "SCT", "Retinal structure")
    mask = np.eye(5, 7, dtype=bool)
    case.add(Mask(id="m", name="M", source=ME, mask=mask, code=code, site=code, laterality="L"))
    case.add(Heatmap(id="h", name="H", source=ME, values=np.linspace(0, 1, 35, dtype=np.float16).reshape(5, 7)))  # fmt: skip  # noqa: E501
    case.add(Point(id="p", name="P", source=ME, position=(1.5, 2.25), probability=0.5))
    case.add(Box(id="b", name="B", source=ME, start=(0, 1), stop=(3, 4), status=Status.FINAL))
    case.add(Label(id="l", name="L", source=ME, value="1", probabilities={"0": 0.25, "1": 0.75}, prediction_set=("1",), coverage=0.9, meanings={"1": "one"}, flags=("f",), note="n"))  # fmt: skip  # noqa: E501
    case.add(Measurement(id="v", name="V", source=ME, value=None, unit="um", reason="why not"))
    case.add(Risk(id="r", name="R", source=ME, value=0.3, horizon_days=365))
    case.add(Transform(id="t", name="T", source=ME, matrix=np.eye(3), target="other"))
    rings = (np.array([[0.25, 1], [2, 3.125], [4, 1]]), np.array([[1.0, 1], [2, 2]]))
    case.add(Contour(id="c", name="C", source=ME, item="photo", rings=rings, closed=False))
    volume = (np.array([[-1.5, 0.1, 3], [2, 3, 4], [5, 6, 7]]),)
    case.add(Contour(id="c3", name="C", source=ME, rings=volume, frame="1.2.3", code=code))
    times = np.array([0.125, 1 / 3])
    case.add(Markers(id="b1", name="Beats", source=ME, item="ecg", times=times, labels=("N", "V"), meanings={"V": "早搏"}))  # fmt: skip  # noqa: E501
    case.add(Markers(id="b2", name="Beats", source=ME, item="ecg", times=times, labels=("N", "+"), durations=(0.0, 1.5), channels=(-1, 2), notes=("", "(AFIB")))  # fmt: skip  # noqa: E501
    case.add(Markers(id="b3", name="None", source=ME, times=np.zeros(0), labels=()))
    case.history.append(Event("step", "osler 0.1.0", 1.5, datetime(2026, 1, 2, tzinfo=UTC)))
    return case


def derived() -> Case:
    """A case with derived images: a volume with a place, and a picture in colour."""
    case = every_kind()
    chance = np.random.default_rng(3)
    affine = np.array([[0, 0, 0.5, 3], [0, 2, 0, -4.25], [1.5, 0, 0, 7], [0, 0, 0, 1.0]])
    fat = Image(
        name="fat", array=chance.normal(size=(2, 3, 4, 5)).astype(np.float32), modality="MR",
        spacing=(1.5, 2.0, 0.5), affine=affine, units="%", channels=("a", "b"),
        window=(0.5, 1.0), flags=("doubtful",), acquired=datetime(2020, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    plane = Image(name="upright", array=chance.integers(0, 255, (3, 4, 6)).astype(np.uint8))
    case.add(DerivedImage(id="fat/1", name="Fat", source=ME, item="mr", image=fat, evidence=("m",)))
    case.add(DerivedImage(id="fat?1", name="Upright", source=ME, item="photo", image=plane))
    return case


def test_derived_images_come_back(tmp_path: Path) -> None:
    case = derived()
    document = checked(case)
    assert document["schema_version"] == 3
    old = json.loads(SCHEMA.with_name("findings-2.schema.json").read_text("utf-8"))
    assert not jsonschema.Draft202012Validator(old).is_valid(document)
    folder = write(case, tmp_path)
    assert {p.name for p in (folder / "images").iterdir()} == {"fat_1.nrrd", "fat_1_.nrrd"}
    for pixels in (True, False):
        again = read_findings(folder, pixels=pixels)
        for id in ("fat/1", "fat?1"):
            finding, other = case.get(id, DerivedImage), again.get(id, DerivedImage)
            assert finding is not None
            assert other is not None
            assert without_arrays(other) == without_arrays(finding)
            image, read = finding.image, other.image
            assert read.array.shape == image.array.shape
            for field in ("name", "modality", "spacing", "units", "window", "flags", "acquired"):
                assert getattr(read, field) == getattr(image, field), field
            if pixels:
                assert_array_equal(read.array, image.array)
                assert read.channels == image.channels
                assert_array_equal(read.affine, image.affine)
    array, header = nrrd.read(str(folder / "images" / "fat_1.nrrd"))
    assert_array_equal(array.T, case.get("fat/1", DerivedImage).image.array)  # type: ignore[union-attr]
    assert header["space"] == "left-posterior-superior"


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_a_damaged_derived_image_is_named(tmp_path: Path, damage: str) -> None:
    folder = write(derived(), tmp_path)
    path = folder / "images" / "fat_1.nrrd"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes((folder / "images" / "fat_1_.nrrd").read_bytes())
    with pytest.raises(UnreadableError, match="fat_1"):
        read_findings(folder)


def without_arrays(finding: Finding) -> dict[str, Any]:
    return {key: value for key, value in describe(finding).items() if key != "rings"}


def test_the_least_version_that_holds_a_case_is_written(tmp_path: Path) -> None:
    # a program that knows version 1 alone goes on reading what has nothing newer in it
    old = json.loads(SCHEMA.with_name("findings-1.schema.json").read_text("utf-8"))
    plain, newer = fake_case(tmp_path), every_kind()
    for case, version in ((plain, 1), (newer, 2)):
        document = checked(case)
        assert document["schema_version"] == version
        assert jsonschema.Draft202012Validator(old).is_valid(document) == (version == 1)


def test_what_is_written_can_be_opened_again(tmp_path: Path) -> None:
    case = every_kind()
    checked(case)
    again = read_findings(write(case, tmp_path))
    assert (again.id, again.patient_id, again.history) == (case.id, None, case.history)
    for one, other in zip(case.findings.values(), again.findings.values(), strict=True):
        assert without_arrays(one) == without_arrays(other)
        for field in ("rings", "times"):
            for a, b in zip(getattr(one, field, ()), getattr(other, field, ()), strict=True):
                assert_array_equal(a, b)
    assert_array_equal(again.get("m", Mask).mask, case.get("m", Mask).mask)  # type: ignore[union-attr]
    heat = again.get("h", Heatmap)
    assert heat is not None
    assert np.abs(heat.values - case.get("h", Heatmap).values).max() <= 1 / 255  # type: ignore[union-attr]
    assert_array_equal(again.get("t", Transform).matrix, np.eye(3))  # type: ignore[union-attr]


def test_a_written_case_opens_with_its_masks_and_words(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    again = read_findings(write(case, tmp_path / "out"))
    for mask in case.of(Mask):
        assert_array_equal(again[mask.id].mask, mask.mask)  # type: ignore[union-attr]
    assert list(again.findings) == list(case.findings)
    assert again.measurements["avr.knudtson"].value == case.measurements["avr.knudtson"].value


def test_the_photograph_comes_back_where_it_is_named(tmp_path: Path) -> None:
    case = fake_case(tmp_path)
    folder = write(case, tmp_path / "out")
    source = Path(case.image("photo").origin.path)  # type: ignore[union-attr]
    again = read_findings(folder, load=lambda path: fake_case(path.parent), source=source)
    assert_array_equal(again.image("photo").array, case.image("photo").array)

    def another(path: Path) -> Case:
        return fake_case(tmp_path, kind="png")

    with pytest.raises(InputError, match="is not the file that was read"):
        read_findings(folder, load=another, source=source)


def test_no_folder_and_no_header_of_the_source_is_told(tmp_path: Path) -> None:
    case = fake_case(tmp_path, kind="dicom-op", patient_id="secret-patient")
    case.patient_id = None
    text = json.dumps(as_document(case), ensure_ascii=False)
    assert "source é.dcm" in text
    for secret in (str(tmp_path), "Müller", "secret-patient", "19600102"):
        assert secret not in text


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"schema_version": 5}')
    with pytest.raises(UnsupportedError, match="update osler"):
        read_findings(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", b'{"schema_version": "1"}', b'{"schema_version": 1}']
)
def test_what_is_no_case_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UnreadableError, match=FILE):
        read_findings(tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "text"])
def test_a_damaged_mask_is_named(tmp_path: Path, damage: str) -> None:
    folder = write(fake_case(tmp_path), tmp_path / "out", html=False)
    mask = folder / "masks" / "vessels.png"
    if damage == "missing":
        mask.unlink()
    else:
        mask.write_bytes(mask.read_bytes()[:60] if damage == "cut" else b"text")
    with pytest.raises(UnreadableError, match=r"vessels\.png"):
        read_findings(folder)


@pytest.mark.parametrize("name", ["../../secret.png", "/etc/passwd", "masks/../../x.png"])
def test_a_mask_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = write(fake_case(tmp_path), tmp_path / "out", html=False)
    document = json.loads((folder / FILE).read_text("utf-8"))
    document["findings"][0]["file"] = name
    assert not checker.is_valid(document)
    (folder / FILE).write_text(json.dumps(document))
    with pytest.raises(UnreadableError, match="outside"):
        read_findings(folder)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_damaged_documents_give_a_case_or_a_named_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    document = as_document(Case(id="x"))
    document["findings"] = [r for r in as_document(every_kind())["findings"] if "file" not in r]
    row = data.draw(st.sampled_from(document["findings"]))
    key = data.draw(st.sampled_from(sorted(row)))
    row[key] = data.draw(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5)
        | st.lists(st.integers(), max_size=3) | st.dictionaries(st.text(max_size=3), st.none())
    )  # fmt: skip
    (folder / FILE).write_text(json.dumps(document))
    told = ""
    try:
        read_findings(folder)
    except UnreadableError as error:
        told = str(error)
    # that lists are of one length is more than a schema can say
    assert not told or "give each moment one" in told or not checker.is_valid(document)


def test_what_inputs_contributed_comes_back(tmp_path: Path) -> None:
    case = every_kind()
    moved = {"left": 0.25, "age": -0.05}
    case.add(Label(id="l4", name="L", source=ME, value="yes", probability=0.7, contributions=moved, without={"left": 0.4, "age": 0.8}))  # fmt: skip  # noqa: E501
    case.add(Risk(id="r4", name="R", source=ME, value=0.5, contributions=moved, without={"left": 0.2}))  # fmt: skip  # noqa: E501
    document = checked(case)
    assert document["schema_version"] == 4
    by_id = {row["id"]: row for row in document["findings"]}
    assert by_id["l4"]["contributions"] == moved
    assert "contributions" not in by_id["l"]
    old = json.loads(SCHEMA.with_name("findings-2.schema.json").read_text("utf-8"))
    assert not jsonschema.Draft202012Validator(old).is_valid(document)
    again = read_findings(write(case, tmp_path))
    for id, kind in (("l4", Label), ("r4", Risk)):
        one = again.get(id, kind)
        assert one is not None
        assert one.contributions == moved
        assert one.without == case.findings[id].without  # type: ignore[union-attr]
