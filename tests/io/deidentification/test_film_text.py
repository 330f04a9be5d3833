"""Every frame of a film is searched for text; the detector looks only where something is new."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_pictures import dataset, picture, save
from PIL import Image, ImageDraw, ImageFont

from osler.io.deidentification import Key, Options, film_text
from osler.io.deidentification.film_text import FilmText, news
from osler.io.deidentification.one import Setting, check, copy

SECRET = "QUILLFEATHER"


def written(array: np.ndarray, text: str, at: tuple[int, int], grey: object, size: int = 14):
    """The picture with a line of text."""
    image = Image.fromarray(array)
    ImageDraw.Draw(image).text(at, text, fill=grey, font=ImageFont.load_default(size))
    return np.asarray(image).copy()


def smooth(seed: int = 0) -> np.ndarray:
    return picture(text="", seed=seed).copy()


def film(frames: list[np.ndarray]) -> FilmText:
    return film_text.search(((f, False) for f in frames), markers=True)


@pytest.mark.parametrize("contrast", [-60, -30, 30, 60, 120])
@pytest.mark.parametrize("size", [9, 14, 24, 40])
def test_text_of_any_contrast_is_news(contrast: int, size: int) -> None:
    ground = np.clip(smooth().astype(int), 70, 130).astype(np.uint8)
    mask = written(np.zeros_like(ground), "Ab12", (60, 60), 255, size).astype(float) / 255
    text = np.round(ground + mask * contrast).astype(np.uint8)
    places = news(text, ground)
    assert len(places) == 1
    (place,) = places
    rows, columns = np.nonzero(mask > 0.5)
    assert place.left <= columns.min()
    assert place.right > columns.max()
    assert place.top <= rows.min()
    assert place.bottom > rows.max()


def test_noise_and_smooth_motion_are_no_news() -> None:
    ground = smooth()
    noise = np.random.default_rng(1).normal(0, 3, ground.shape)
    assert news(np.clip(ground + noise, 0, 255).astype(np.uint8), ground) == []
    drift = np.linspace(0, 60, 256)[None, :]  # a bright field that comes in from the right
    assert news(np.clip(ground + drift, 0, 255).astype(np.uint8), ground) == []


def test_parts_reach_to_the_edges() -> None:
    ground = np.zeros((300, 400), np.uint8)
    for at in ((0, 0), (370, 0), (0, 285), (372, 286), (200, 150)):
        (place,) = news(written(ground, "Ab", at, 255, 10), ground)
        assert 0 <= place.left <= at[0] < place.right <= 400
        assert 0 <= place.top <= at[1] < place.bottom <= 300
        assert min(place.right - place.left, place.bottom - place.top) >= 190


@pytest.mark.parametrize("name", ["jpeg", "j2k", "jpeg-ls", "rle"])
def test_text_in_one_middle_frame_of_a_compressed_film(name: str, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    frames = [smooth() for _ in range(31)]
    frames[17] = written(frames[17], SECRET, (100, 120), 235)
    path = save(dataset(frames, name), tmp_path / "a.dcm")
    setting = Setting(tmp_path, tmp_path / "out", Options(), Key())
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    new = pydicom.dcmread(setting.out / outcome.place)
    assert outcome.counts["burnt-in text", "blacked out"] >= 1
    assert new.pixel_array[:, 124:134, 102:200].max() <= 12
    assert new.file_meta.TransferSyntaxUID == pydicom.dcmread(path).file_meta.TransferSyntaxUID


def test_text_that_is_there_once_is_found_in_noise() -> None:
    pytest.importorskip("rapidocr")
    rng = np.random.default_rng(2)
    frames = [
        np.clip(smooth() + rng.normal(0, 25, (192, 256)), 0, 255).astype(np.uint8)
        for _ in range(12)
    ]
    frames[6] = written(frames[6], SECRET, (60, 90), 255, 18)
    found = film(frames)
    assert found.looks >= len(frames)  # speckle is new everywhere, so that nothing is passed over
    assert any(b.left < 70 and b.right > 150 and 80 < b.top < 110 for b in found.boxes)


def test_noise_that_reads_as_a_sign_or_two_stays() -> None:
    pytest.importorskip("rapidocr")
    from osler.io.deidentification import text_boxes

    rng = np.random.default_rng(5)
    for _ in range(8):
        noise = np.clip(smooth() + rng.normal(0, 12, (192, 256)), 0, 255).astype(np.uint8)
        assert text_boxes.find(noise, markers=True) == []
    (box,) = text_boxes.find(written(smooth(), "Ab12", (20, 20), 255, 90), markers=True)
    assert box.right - box.left > 150  # large text is text all the same


def test_what_changes_under_a_rectangle_is_not_searched_again() -> None:
    pytest.importorskip("rapidocr")
    frames = [written(smooth(), f"1950-02-03 10:20:{i:02d}", (10, 10), 235) for i in range(10, 26)]
    found = film(frames)
    assert found.looks <= 6  # the first frame, what sticks out of it, and the sums
    assert any(b.left <= 12 and b.right >= 120 for b in found.boxes)


def test_text_that_fades_in_is_found() -> None:
    pytest.importorskip("rapidocr")
    frames = [
        np.maximum(smooth(), written(np.zeros((192, 256), np.uint8), SECRET, (60, 90), 3 * i, 18))
        for i in range(60)
    ]
    found = film(frames[::2])
    assert any(b.left < 70 and b.right > 190 for b in found.boxes)
    assert found.looks < 30


def test_text_of_the_brightness_of_its_ground(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    grey = np.full((192, 256, 3), 100, np.uint8)
    frame = written(grey, SECRET, (30, 90), (230, 40, 30), 20)
    assert abs(int(frame[90:115, 30:180].mean(axis=2).max()) - 100) <= 2
    for frames in ([frame], [grey, frame, grey]):
        path = save(dataset(frames, "native"), tmp_path / "a.dcm")
        outcome = copy(path, Setting(tmp_path, tmp_path / "out", Options(), Key()))
        assert outcome.counts["burnt-in text", "blacked out"] >= 1


def test_text_in_the_colours_of_a_palette(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    indices = written(np.full((192, 256), 7, np.uint8), SECRET, (30, 90), 8, 20)
    ds = dataset([np.clip(indices, 7, 8)], "native")
    ds.PhotometricInterpretation = "PALETTE COLOR"
    table = np.zeros(256, "<u2")
    table[8] = 0xFFFF
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
    path = save(ds, tmp_path / "a.dcm")
    outcome = copy(path, Setting(tmp_path, tmp_path / "out", Options(), Key()))
    assert outcome.counts["burnt-in text", "blacked out"] >= 1
    new = pydicom.dcmread(tmp_path / "out" / outcome.place)
    assert (new.pixel_array[95:110, 32:150] == 7).all()
