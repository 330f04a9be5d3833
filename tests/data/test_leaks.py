"""The same picture twice, patients on both sides, labels that contradict: found and told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageFilter

from osler.data.cohort import Cohort, Row, read_cohort
from osler.data.duplicates import (
    ALIKE,
    TURNS,
    candidates,
    find_duplicates,
    groups,
    normalised,
    turned,
)
from osler.data.leaks import find_leaks, part_of
from osler.data.scanning import pixel_digest, scan, small

COHORTS = Path(__file__).resolve().parents[2] / "recipes" / "cohorts"


def drawing(seed: int, side: int = 200) -> Pillow.Image:
    """A picture with structure at all scales, as pictures of people have."""
    rng = np.random.default_rng(seed)
    out = np.zeros((side, side))
    for scale in (4, 8, 16, 32, 64):
        layer = Pillow.fromarray(rng.random((scale, scale)).astype(np.float32))
        out += np.asarray(layer.resize((side, side), Pillow.Resampling.BICUBIC)) / scale**0.3
    out = (out - out.min()) / (out.max() - out.min()) * 255
    return Pillow.fromarray(out.astype(np.uint8))


CHANGES = {
    "in another format": ("bmp", lambda p: p),
    "recompressed": ("jpg", lambda p: p),
    "smaller": ("png", lambda p: p.resize((120, 120))),
    "darker": ("png", lambda p: p.point(lambda v: 0.5 * v + 20)),
    "other gamma": ("png", lambda p: p.point(lambda v: 255 * (v / 255) ** 1.6)),
    "blurred": ("png", lambda p: p.filter(ImageFilter.GaussianBlur(1))),
    "turned by 90°": ("png", lambda p: p.transpose(Pillow.Transpose.ROTATE_90)),
    "turned by 180°": ("png", lambda p: p.transpose(Pillow.Transpose.ROTATE_180)),
    "mirrored": ("png", lambda p: p.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)),
    "upside down": ("png", lambda p: p.transpose(Pillow.Transpose.FLIP_TOP_BOTTOM)),
    "in colour": ("png", lambda p: p.convert("RGB")),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Thirty different drawings, and the first one changed in every way."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for seed in range(30):
        drawing(seed).save(folder / f"{seed}.png")
        rows.append(Row(str(seed), f"p{seed}", None, {"photo": folder / f"{seed}.png"}, {}))
    for name, (ending, change) in CHANGES.items():
        file = folder / f"{name}.{ending}"
        change(drawing(0)).save(file)
        rows.append(Row(name, "other", None, {"photo": file}, {}))
    cohort = Cohort(folder / "c.csv", folder, tuple(rows))
    return cohort, scan(cohort)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_found(pictures, name):
    _, scans = pictures
    pair = next(
        p for p in find_duplicates([*scans[:30], *(s for s in scans if s.row.case_id == name)])
    )
    assert (pair.first, pair.second) == (0, 30)
    assert pair.kind == ("exact" if name == "in another format" else pair.kind)
    assert pair.kind in ("exact", "same") or name == "blurred"
    if name.startswith(("turned", "mirrored")):
        # the turn that undoes it
        assert pair.turn == {"turned by 90°": "turned by 270°"}.get(name, name)


def test_different_pictures_are_told_apart(pictures):
    _, scans = pictures
    assert find_duplicates(scans[:30]) == []


def test_all_of_a_picture_are_one_group(pictures):
    _, scans = pictures
    found = groups(find_duplicates(scans))
    assert found == [(0, *range(30, 30 + len(CHANGES)))]


def test_turns_are_those_that_their_words_say():
    square = np.zeros((1, 4, 4), np.float32)
    square[0, 0, 0], square[0, 0, 1] = 1, 2
    assert len({turned(square, k).tobytes() for k in range(8)}) == len(TURNS) == 8
    assert (turned(square, 1)[0] == np.rot90(square[0])).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 64))
def test_candidates_are_those_of_the_slow_way(words, radius):
    found = np.array(words, np.uint64)
    slow = {
        (i, j)
        for j in range(len(words))
        for i in range(j)
        if (words[i] ^ words[j]).bit_count() <= radius
    }
    assert set(candidates(found, found, radius)) == slow


def test_flat_pictures_are_no_near_duplicates(tmp_path):
    rows = []
    for k in range(3):
        Pillow.fromarray(np.full((50, 50), 100 + k, np.uint8)).save(tmp_path / f"{k}.png")
        rows.append(Row(str(k), str(k), None, {"photo": tmp_path / f"{k}.png"}, {}))
    scans = scan(Cohort(tmp_path / "c.csv", tmp_path, tuple(rows)))
    assert all(s.flat for s in scans)
    assert find_duplicates(scans) == []


def test_a_frame_alone_makes_no_pair(tmp_path):
    """Two photographs of one camera that show nothing but the edge of its field."""
    hh, ww = np.mgrid[:200, :200] - 100
    rows = []
    for k in range(4):
        light = 60 + 40 * k + 10 * np.sin(hh / (30 + 9 * k)) * np.cos(ww / (40 - 7 * k))
        light += np.random.default_rng(k).normal(0, 2, light.shape)
        field = np.where(np.hypot(hh, ww) < 90, light, 0)
        file = tmp_path / f"{k}.png"
        Pillow.fromarray(np.clip(field, 0, 255).astype(np.uint8)).save(file)
        rows.append(Row(str(k), str(k), None, {"photo": file}, {}))
    scans = scan(Cohort(tmp_path / "c.csv", tmp_path, tuple(rows)))
    pictures = normalised(np.stack([s.thumb for s in scans]))
    assert (pictures[0] * pictures[1]).sum() > ALIKE  # the frame is the same indeed
    assert find_duplicates(scans) == []


def test_equal_pixels_have_equal_digests():
    array = np.arange(12, dtype="<u2").reshape(1, 3, 4)
    assert pixel_digest(array) == pixel_digest(array.astype(">u2").astype("<u2"))
    assert pixel_digest(array) == pixel_digest(np.asfortranarray(array))
    assert pixel_digest(array) != pixel_digest(array.reshape(1, 4, 3))
    assert pixel_digest(array) != pixel_digest(array.astype("<u4"))


def test_a_volume_is_seen_by_its_middle_slice():
    volume = np.zeros((1, 5, 80, 80), np.int16)
    volume[0, 2, 40:] = 1000
    volume[0, 0] = -500
    assert small(volume)[0, 0] == 0
    assert small(volume)[-1, -1] == 255


def test_patients_and_pictures_on_both_sides_and_conflicts(tmp_path):
    for seed in range(4):
        drawing(seed).save(tmp_path / f"{seed}.png")
    drawing(0).save(tmp_path / "again.jpg")
    (tmp_path / "c.csv").write_text(
        "case_id,patient_id,split,photo,label:grade,label:mask\n"
        "a,p0,train,0.png,1,1.png\nb,p1,test,again.jpg,2,2.png\n"
        "c,p2,train,1.png,1,\nd,p2,test,2.png,1,\ne,p3,train,3.png,1,\nf,p3,train,3.png,1,\n"
    )
    cohort = read_cohort(tmp_path / "c.csv", strict=False)
    leaks = find_leaks(cohort, scan(cohort))
    assert leaks.patients == {"p2": ("train", "test")}
    assert [(p.first, p.second, p.kind) for p in leaks.pairs] == [(4, 5, "exact"), (0, 1, "same")]
    assert [(p.first, p.second) for p in leaks.across] == [(0, 1)]
    assert leaks.strangers == leaks.across
    (conflict,) = leaks.conflicts
    assert (conflict.label, conflict.cases) == ("grade", (("a", "1"), ("b", "2")))
    assert part_of(cohort.rows[0]) == "train"


def test_the_known_repeats_of_real_photographs_are_found(data_dir):
    """A part of what benchmarks/leaks.py measures on all of them."""
    graded, drawn = (
        read_cohort(COHORTS / f"{name}.csv", root=data_dir) for name in ("grading", "lesions")
    )
    some = drawn.rows[:14]
    shared = {row.patient_id for row in some}
    # two numbers of one photograph, taken darker, which the tables do not know
    twins = ("IDRiD_013", "IDRiD_397")
    rows = [r for r in graded.rows if r.patient_id in shared or r.case_id in twins]
    rows += [*graded.rows[100:110], *some]
    rows = list({row.case_id: row for row in rows}.values())
    scans = scan(Cohort(graded.path, data_dir, tuple(rows)), threads=2)
    found = {(p.first, p.second) for p in find_duplicates(scans)}
    known = {
        (i, j)
        for j in range(len(rows))
        for i in range(j)
        if rows[i].patient_id == rows[j].patient_id
        or {rows[i].case_id, rows[j].case_id} == {*twins}
    }
    assert len(known) >= 9
    assert found == known
