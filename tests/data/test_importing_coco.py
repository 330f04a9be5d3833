"""COCO annotations: what becomes of them, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from importing_files import FUZZ, only_our_errors, picture, replaced, take, write_json

from osler.data.coco import polygon_mask, runs
from osler.errors import InputError
from osler.record import Box, Mask


@pytest.fixture
def coco(tmp_path):
    for k in (1, 2):
        picture(tmp_path / "ds/train2017" / f"{k}.png", k, (10, 12))
    head = {
        "images": [
            {"id": 5, "file_name": "1.png", "height": 10, "width": 12},
            {"id": 6, "file_name": "2.png", "height": 10, "width": 12},
        ],
        "categories": [{"id": 1, "name": "nodule"}, {"id": 9, "name": "rib"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "segmentation": [[2, 3, 6, 3, 6, 5, 2, 5]]},
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4.5], "segmentation": []},
            {"image_id": 5, "category_id": 9, "bbox": [0, 0, 2, 2]},
            {
                "image_id": 6, "category_id": 9, "iscrowd": 1,
                "segmentation": {"size": [10, 12], "counts": [10, 5, 105]},
            },
        ],
    }  # fmt: skip
    return write_json(tmp_path / "ds/annotations/instances_train2017.json", head)


def test_coco_outlines_become_masks_and_boxes_boxes(coco, tmp_path):
    cohort, _ = take(coco.parent.parent, tmp_path / "out")
    one, two = cohort.cases()
    assert [row.split for row in cohort.rows] == ["train", "train"]
    mask = one.get("nodule", Mask).mask
    assert mask[3:5, 2:6].all()
    assert mask.sum() == 8
    box = one.get("rib", Box)
    assert (box.start, box.stop) == ((0, 0), (2, 2))
    assert cohort.rows[0].labels["nodule box"] == "2;1;6.5;4"
    crowd = two.get("rib", Mask).mask
    assert crowd[:5, 1].all()
    assert crowd.sum() == 5  # a column holds 10: the run of 5 begins in the second


def encode(mask: np.ndarray) -> str:
    """The compressed form, written the obvious way: runs, differences, five bits a letter."""
    flat = mask.T.ravel()
    lengths, last, count = [], False, 0
    for value in flat:
        if bool(value) != last:
            lengths.append(count)
            last, count = bool(value), 0
        count += 1
    lengths.append(count)
    out = ""
    for k, length in enumerate(lengths):
        value = length - lengths[k - 2] if k > 2 else length
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            out += chr(48 + (bits | (32 if more else 0)))
            if not more:
                break
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_give_back_the_mask(height, width, seed, share):
    mask = np.random.default_rng(seed).random((height, width)) < share
    code = {"size": [height, width], "counts": encode(mask)}
    assert (runs(code, (height, width)) == mask).all()


def test_a_polygon_holds_the_pixels_whose_centres_are_inside():
    triangle = [0, 0, 8, 0, 0, 8]
    hh, ww = np.mgrid[:10, :10] + 0.5
    assert (polygon_mask(triangle, (10, 10)) == (hh + ww < 8)).sum() >= 92  # its edge may count


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        (("images", 0, "file_name"), "../../x.png", "outside its folder"),
        (("images", 0, "file_name"), "x" * 300, "no disk can hold"),
        (("images", 0, "file_name"), "x\0.png", "no disk can hold"),
        (("images", 0, "file_name"), "\ud800.png", "no disk can hold"),
        (("images", 0, "file_name"), "none.png", "does not exist"),
        (("images", 0, "height"), 10**9, "states an image of"),
        (("annotations", 0, "segmentation"), [[1, 2]], "is damaged"),
        (("annotations", 0, "segmentation"), [[float("nan")] * 6], "is damaged"),
        (("annotations", 0, "image_id"), 77, "is not there"),
        (("annotations", 2, "bbox"), [1, 2], "is damaged"),
        (("annotations", 3, "segmentation", "counts"), "zzz", "is damaged"),
        (("annotations", 3, "segmentation", "counts"), [10**12], "is damaged"),
        (("annotations",), {}, "lacks one of the lists"),
    ],
)
def test_a_broken_coco_file_is_refused(coco, tmp_path, where, value, words):
    head = json.loads(coco.read_text())
    place = head
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    coco.write_text(json.dumps(head))
    with pytest.raises(InputError, match=words):
        take(coco, tmp_path / "out", images=coco.parent.parent / "train2017")


@FUZZ
@given(draw=st.data())
def test_any_coco_content_ends_in_our_errors(coco, tmp_path, draw):
    kept = coco.read_text()
    coco.write_text(json.dumps(replaced(json.loads(kept), draw)))
    only_our_errors(coco, tmp_path, kind="coco", images=coco.parent.parent / "train2017")
    coco.write_text(kept)
