"""Findings on real series: what is written beside the images comes back with them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_check import errors

from osler.io import load
from osler.io.dicom_seg_out import Kind, write_segmentation
from osler.io.dicom_sr import write_measurements
from osler.record import Case, Code, Image, Mask, Measurement, Source


def _one(folder: Path) -> Case:
    cases = load(folder)
    return cases if isinstance(cases, Case) else next(iter(cases))


def _volume(case: Case) -> Image:
    return next(i for i in case.items.values() if isinstance(i, Image) and i.modality != "SEG")


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_series_with_its_segmentation_and_report(
    data_dir: Path, tmp_path: Path, kind: Kind
) -> None:
    study = tmp_path / "study"
    shutil.copytree(data_dir / "brain-mr-dicom" / "11_HCropVolume", study)
    case = _one(study)
    image = _volume(case)
    bright = np.asarray(image.array[0] > np.percentile(image.array, 90))
    source = Source("algorithm", "threshold", "1")
    mask = Mask(
        id="bright", name="Bright", source=source, item=image.name, mask=bright,
        code=Code("85756007", "SCT", "Tissue"), category=Code("85756007", "SCT", "Tissue"),
    )  # fmt: skip
    case.add(mask)
    litres = float(bright.sum() * abs(np.linalg.det(image.affine[:3, :3]))) / 1000
    case.add(
        Measurement(
            id="volume.bright", name="Volume", source=source, item=image.name, value=litres,
            unit="mL", evidence=("bright",),
        )
    )  # fmt: skip
    seg = write_segmentation([mask], image, study / "seg.dcm", kind=kind)
    report = write_measurements(case, study / "sr.dcm", item=image.name, seg=seg)
    # the checker of 2022 does not know label maps, nor references to them
    assert kind == "labelmap" or errors(seg) == errors(report) == []
    again = _one(study)
    found = again.get("bright", Mask)
    assert found.item == _volume(again).name
    assert np.array_equal(found.mask, bright)
    number = again.get("volume.bright", Measurement)
    assert (number.value, number.unit, number.item) == (litres, "mL", found.item)
    assert again.patient_id == case.patient_id


def test_a_segmentation_of_a_nifti_volume(data_dir: Path, tmp_path: Path) -> None:
    organs = load(data_dir / "ct-example" / "example_seg.nii.gz").image("volume")
    labels = np.asarray(organs.array[0])
    numbers = [int(n) for n in np.unique(labels) if n][:6]
    source = Source("algorithm", "organs", "1")
    masks = [
        Mask(id=f"organ-{n}", name=f"Organ {n}", source=source, mask=labels == n) for n in numbers
    ]
    path = write_segmentation(masks, organs, tmp_path / "seg.dcm")
    assert errors(path) == []
    case = load(path)
    grid = case.image("segmentation")
    for mask in masks:
        there = np.argwhere(case.get(mask.id, Mask).mask)
        here = np.argwhere(mask.mask)
        assert len(there) == len(here)
        centre = [
            (image.affine @ np.append(points.mean(0), 1))[:3]
            for image, points in ((grid, there), (organs, here))
        ]
        assert np.allclose(*centre, atol=1e-3)
