"""The verb, on bundles and networks whose reasons are known; its files; and the command itself."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image as Picture
from tiny_bundles import bright_corner, bright_voxels, spotted, yellow_spots
from typer.testing import CliRunner

import osler
from osler import bundles
from osler.bundles.graph import MalformedError, weights
from osler.cli import app
from osler.errors import InputError, OutputError, RecipeError
from osler.explain.explaining import INSIDE, explain
from osler.explain.general import of_task
from osler.explain.redrawn import Redrawn
from osler.explain.signs import QUADRANTS
from osler.record import Case, Heatmap, Image, Signal, Source
from osler.tasks.catalogue import create

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def peak(values):
    return np.unravel_index(int(np.asarray(values, np.float32).argmax()), values.shape)


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    return yellow_spots(tmp_path_factory.mktemp("bundles"))


def test_a_photograph_is_explained_where_its_reason_lies(spots):
    case = spotted(spot=(70, 150))
    said = explain(spots, case)
    assert said.label == "scores=yellow"
    assert said.method == "occlusion"
    assert said.units == "log-odds"
    assert said.heatmap.values.shape == said.signed.shape == (200, 240)
    assert said.heatmap.values.dtype == np.float16
    assert case["explanation"] is said.heatmap
    assert np.hypot(*np.subtract(peak(said.heatmap.values), (70, 150))) < 16
    assert float(said.heatmap.values.max()) == 1.0
    assert float(said.heatmap.values.min()) == 0.0
    assert said.faithful.better_than_random
    assert said.faithful.deletion.scores[0] == pytest.approx(said.value)
    assert len(said.random_weights) == 1
    assert said.evidence is None  # nobody looked for lesions
    hh, ww = np.indices((200, 240))
    outside = np.hypot(hh - 100, ww - 120) > 100
    assert not said.signed[outside].any()


def test_the_other_label_is_spoken_against_by_the_same_place(spots):
    case = spotted()
    for_it = explain(spots, case, label="yellow")
    against = explain(spots, case, label="scores=plain")
    assert [f.id for f in case.of(Heatmap)] == ["explanation", "explanation-2"]
    np.testing.assert_allclose(against.signed, -for_it.signed, atol=1e-3)
    assert peak(-against.signed) == peak(for_it.signed)


def test_a_general_bundle_is_explained_through_its_task(tmp_path):
    picture = np.zeros((1, 60, 90), np.uint8)
    picture[0, 40:, 60:] = 255
    case = Case("corner", items={"image": Image("image", picture)})
    said = explain(bright_corner(tmp_path), case)
    assert said.label == "scores=light"
    assert said.input_shape == (24, 24)
    assert said.heatmap.values.shape == (60, 90)
    top, left = peak(said.heatmap.values)
    assert top >= 38
    assert left >= 55
    assert said.faithful.better_than_random
    folder = said.write(tmp_path / "out")
    with Picture.open(folder / "overlay.png") as drawn:
        assert drawn.size == (90, 60)


def test_the_map_of_a_field_lies_where_the_field_does(tmp_path):
    """What the network saw was the lit box of the photograph alone."""
    hh, ww = np.mgrid[:240, :400]
    lit = (hh - 120) ** 2 + (ww - 110) ** 2 < 90**2
    picture = np.where(lit, 60, 0).astype(np.uint8)
    picture[150:175, 150:170] = 255
    bundle = bright_corner(tmp_path, field=True)
    said = osler.explain(bundle, Case("eye", items={"image": Image("image", picture[None])}))
    heat = said.heatmap.values.astype(float)
    assert heat.shape == (240, 400)
    assert heat[:, 205:].max() == 0  # outside the field
    top, left = peak(said.heatmap.values)
    assert 140 <= top <= 200
    assert 135 <= left <= 200


def volume_case():
    volume = np.zeros((1, 12, 15, 18), np.float32)
    volume[0, 6:9, 3:7, 10:14] = 100
    affine = np.diag([-2.0, 1.5, 3.0, 1.0])[[2, 1, 0, 3]] + 0.0
    affine[:3, 3] = (10, -20, 30)
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    image = Image("image", volume, "MR", spacing=spacing, affine=affine)
    return Case("volume", items={"image": image})


def test_a_volume_gets_a_map_with_its_place_in_the_patient(tmp_path):
    case = volume_case()
    said = explain(bright_voxels(tmp_path), case)
    assert said.label == "scores=bright"
    assert said.heatmap.values.shape == (12, 15, 18)
    d, h, w = peak(said.heatmap.values)
    assert 4 <= d < 11
    assert 1 <= h < 9
    assert 8 <= w < 16
    assert said.faithful.better_than_random
    folder = said.write(tmp_path / "out")
    written = nibabel.load(folder / "heatmap.nii.gz")
    back = osler.load(folder / "heatmap.nii.gz")
    (image,) = back.items.values()
    np.testing.assert_allclose(image.affine, case["image"].affine, atol=1e-4)
    np.testing.assert_allclose(image.array[0], said.signed, atol=1e-6)
    assert sorted(written.shape) == [12, 15, 18]
    page = (folder / "explanation.html").read_text("utf-8")
    assert "the hottest" in page


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "input", "line", "polyline", "br"):
            self.open.append(tag)
        self.addresses += [v for k, v in attributes if k in ("src", "href") and v]

    def handle_endtag(self, tag):
        if tag not in ("line", "polyline"):
            assert self.open.pop() == tag


def test_the_files_hold_every_number_and_need_nothing_else(spots, tmp_path):
    case = spotted()
    case.id = "a<b>&../c"
    said = explain(spots, case)
    folder = said.write(tmp_path)
    assert folder.parent == tmp_path
    assert sorted(file.name for file in folder.iterdir()) == [
        "explanation.html", "explanation.json", "heatmap.npz", "overlay.png",
    ]  # fmt: skip
    kept = json.loads((folder / "explanation.json").read_text("utf-8"))
    curve = kept["faithfulness"]["deletion"]
    assert np.trapezoid(curve["scores"], curve["shares"]) == pytest.approx(curve["area"])
    assert kept["faithfulness"]["deletion_gain"] == pytest.approx(
        kept["faithfulness"]["random_deletion"]["area"] - curve["area"]
    )
    assert kept["random_weights"]["stages"][0]["random"] == "all"
    assert kept["model"]["name"] == "yellow-spots"
    with np.load(folder / "heatmap.npz") as arrays:
        np.testing.assert_array_equal(arrays["signed"], said.signed)
        np.testing.assert_array_equal(arrays["heat"], said.heatmap.values)
    text = (folder / "explanation.html").read_text("utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert "<script" not in text
    assert "default-src &#39;none&#39;" in text
    assert "a&lt;b&gt;&amp;" in text
    again = explain(spots, spotted())
    np.testing.assert_array_equal(again.signed, said.signed)  # the same to the bit
    assert again.faithful == said.faithful


def test_wrong_usage_is_met_with_the_way_out(spots, tmp_path):
    with pytest.raises(RecipeError, match="did you mean 'scores=yellow'"):
        explain(spots, spotted(), label="yelow")
    with pytest.raises(RecipeError, match="did you mean 'occlusion'"):
        explain(spots, spotted(), method="oclusion")
    with pytest.raises(RecipeError, match=r"looks inside a network.*use occlusion"):
        explain(spots, spotted(), method="grad-cam")
    with pytest.raises(RecipeError, match="gives no attention"):
        explain(spots, spotted(), method="attention")
    with pytest.raises(RecipeError, match="a layer is for class activation maps"):
        explain(spots, spotted(), layer="conv1")
    with pytest.raises(InputError, match="no image 'photo'"):
        explain(spots, volume_case())
    signal = Case("signal", items={"ecg": Signal("ecg", np.zeros((1, 9)), 1.0, ("I",), ("mV",))})
    with pytest.raises(InputError):
        explain(bright_corner(tmp_path), signal)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError):
        explain(spots, spotted()).write(file)


@pytest.mark.parametrize("half", [False, True])
def test_weights_are_found_in_the_bytes_and_drawn_anew(tmp_path, half):
    bundle = yellow_spots(tmp_path, half=half)
    content = (bundle.folder / "model.onnx").read_bytes()
    found = weights(content)
    model = onnx.load_from_string(content)
    known = [numpy_helper.to_array(one) for one in model.graph.initializer]
    assert [one.shape for one in found] == [one.shape for one in known]
    for one, array in zip(found, known, strict=True):
        held = np.frombuffer(content[one.start : one.stop], one.dtype).reshape(one.shape)
        np.testing.assert_array_equal(held, array)
    image = np.random.default_rng(0).random((1, 4, 32, 32)).astype(np.float32)
    before = bundle.run({"image": image})["scores"]
    other = Redrawn(bundle)
    assert other.tensors == 1  # the bias stays
    assert not np.allclose(other.run({"image": image})["scores"], before)
    np.testing.assert_array_equal(
        other.run({"image": image})["scores"], Redrawn(bundle).run({"image": image})["scores"]
    )
    np.testing.assert_array_equal(bundle.run({"image": image})["scores"], before)
    with pytest.raises(MalformedError):
        weights(content[: len(content) // 2])


def test_every_shipped_bundle_has_weights_to_draw():
    for name in bundles.names():
        card = bundles.load(name)
        content = (card.folder / "model.onnx").read_bytes()
        found = weights(content)
        many = sum(int(np.prod(one.shape)) for one in found)
        assert many > 50_000, name


@pytest.mark.parametrize("method", [*INSIDE, "occlusion"])
def test_networks_are_explained_by_every_method(method):
    pytest.importorskip("torch")
    from small_nets import small

    from osler.explain.inside.network import map_of, on_array, random_maps

    net, x = small("vit")
    subject = on_array(net, x[0].numpy(), label=1)
    if method != "occlusion":
        heat, layer, additive, _ = map_of(subject, method, None)
        assert heat.shape == (48, 48)
        assert np.isfinite(heat).all()
        assert (layer != "") == (method.endswith(("cam", "++", "rollout")))
        assert (additive is not None) == (method == "integrated-gradients")
    stages = list(random_maps(subject, method, None, stages=2))
    assert [stage for stage, _ in stages][-1] == "all"
    assert all(other.shape == (48, 48) for _, other in stages)


SEGMENT = {
    "name": "light", "task": "segmentation", "cohort": "cohort.csv", "folds": {"count": 2},
    "hold": {"test": None, "tune": 1},
    "settings": {"image": {"items": ["volume"], "intensity": {"range": [0.0, 100.0]}},
                 "labels": ["light"], "patch": [16, 16, 16], "overlap": 0.25},
    "network": {"name": "dynunet", "options": {"widths": [4, 8, 12]}},
    "learner": {"steps": 6, "batch": 2, "rate": 0.02, "warmup": 2, "ema": 0.8,
                "validate_every": 6, "precision": "float32"},
}  # fmt: skip


def test_a_bundle_in_the_folder_of_its_run_is_looked_into(tmp_path):
    """What a user has trained is explained from inside, in the patch that holds what it marks."""
    pytest.importorskip("torch")
    lines = ["case_id,patient_id,fold,volume,label:light"]
    for n in range(4):
        values = np.full((24, 28, 20), 20, np.float32)
        mask = np.zeros(values.shape, np.uint8)
        values[14:20, 16:22, 2 + n : 8 + n], mask[14:20, 16:22, 2 + n : 8 + n] = 80, 1
        for name, array in (("volume", values), ("mask", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}-{n}.nii.gz")
        lines.append(f"c{n},p{n},{n % 2},volume-{n}.nii.gz,mask-{n}.nii.gz")
    (tmp_path / "cohort.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(SEGMENT))
    run = osler.fit(path, out=tmp_path / "run")
    scan = tmp_path / "volume-1.nii.gz"
    said = osler.explain(run.bundle, scan, method="integrated-gradients")
    assert said.label == "scores=light"
    assert "patches" in said.notes[0]
    assert said.signed.shape == said.case["volume"].shape
    h, w, d = (np.ptp(axis) for axis in np.nonzero(said.signed))
    assert max(h, w, d) < 16  # nothing is said of what is beyond the patch
    assert said.additive["difference"] != 0
    total = said.additive["difference"] + said.additive["gap"]
    assert float(said.signed.sum()) == pytest.approx(total, rel=1e-3, abs=1e-5)
    moved = bundles.save(
        json.loads((run.bundle / "card.json").read_text()),
        {one.name: one.read_bytes() for one in run.bundle.iterdir() if one.name != "card.json"},
        tmp_path / "elsewhere" / "bundle",
    )
    with pytest.raises(RecipeError, match=r"folder of its run.*or use occlusion"):
        osler.explain(moved, scan, method="grad-cam")
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(RecipeError, match=r"damaged; use occlusion"):
        osler.explain(run.bundle, scan, method="grad-cam")


def test_a_network_with_a_card_is_explained_as_a_verb(tmp_path):
    pytest.importorskip("torch")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = osler.models.create(
            "vit-base", weights="random", image_size=48, patch_size=8, embed_dim=24, depth=2,
            num_heads=3, num_classes=3, class_names=["none", "mild", "severe"],
        )  # fmt: skip
    photo = np.random.default_rng(0).integers(0, 255, (3, 40, 40)).astype(np.uint8)
    case = Case("noise", items={"photo": Image("photo", photo)})
    said = osler.explain(net, case, method="integrated-gradients", label="severe")
    assert said.label == "severe"
    assert said.question.startswith("score of 'severe'")
    assert said.heatmap.values.shape == (40, 40)
    total = said.additive["difference"] + said.additive["gap"]
    assert total == pytest.approx(said.additive["difference"], abs=0.05)
    assert [one.stage for one in said.random_weights][-1] == "all"
    said.write(tmp_path)


@pytest.mark.parametrize(
    "steps",
    [
        [{"resize": (30, 30)}],
        [{"resize_short": 32}, {"centre_crop": 24}],
        [{"pad_square": 0}, {"resize": (24, 24)}],
        [{"resize_long": 20}, {"pad": 24}],
        [{"divide": 255.0}],
    ],
)
def test_a_map_goes_back_the_way_the_picture_came(steps):
    from osler.explain.framing import way_home
    from osler.models.preprocessing import Preprocessing, Step

    prepare = Preprocessing(steps=tuple(Step(**one) for one in steps))
    picture = np.zeros((3, 48, 72), np.uint8)
    picture[:, 20:28, 40:48] = 200
    seen = prepare(picture).mean(axis=0)
    home = way_home(prepare.steps, (48, 72))(seen.astype(np.float32))
    assert home.shape == (48, 72)
    h, w = (float((home * index).sum() / home.sum()) for index in np.indices(home.shape))
    assert abs(h - 23.5) < 1.5
    assert abs(w - 43.5) < 1.5


def test_a_general_bundle_of_a_network_agrees_with_the_network():
    """Occlusion asks for answers only: of a network and of anything that answers alike."""
    pytest.importorskip("torch")
    from small_nets import small

    from osler.explain.inside.network import on_array
    from osler.explain.occlusion import occlusion

    net, x = small("resnet")
    subject = on_array(net, x[0].numpy(), label=0)

    def alone(stack):
        import torch

        with torch.no_grad():
            return np.array([float(net(torch.from_numpy(one[None]))[0, 0]) for one in stack])

    options = {"absent": subject.absent, "window": (24, 32), "stride": (24, 32)}
    a = occlusion(subject.score, subject.image, batch=8, **options)
    b = occlusion(alone, subject.image, batch=1, **options)
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_the_command_explains_a_shipped_bundle_with_its_evidence(tmp_path):
    photo = EXAMPLES / "idrid-073.jpg"
    words = ["explain", "retina-dr", str(photo), "--method", "attention", "--label", "grade=2"]
    run = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "Moderate non-proliferative retinopathy by what was measured" in run.stderr
    kept = json.loads((tmp_path / "idrid-073" / "explanation.json").read_text("utf-8"))
    measured = kept["faithfulness"]
    assert measured["deletion_gain"] > 0.2  # the grade falls without what is attended to
    opinion = kept["evidence"]["opinions"][0]
    assert opinion["verdict"] == "agrees"
    (haemorrhages,) = (
        step for step in opinion["steps"] if step["findings"] == ["haemorrhages"]
        and step["kind"] == "seen"
    )  # fmt: skip
    quadrants = sum(quadrant in haemorrhages["text"] for quadrant in QUADRANTS)
    assert f"haemorrhages in {('three', 'four')[quadrants - 3]} quadrants" in opinion["sentence"]
    text = (tmp_path / "idrid-073" / "explanation.html").read_text("utf-8")
    assert "The rules agree with the model" in text
    assert ("Do not rely on this map" in text) == (not measured["better_than_random"])
    assert re.search(r"Venous beading: not assessed; no model here looks for it", text)


def test_the_command_names_what_is_wrong(tmp_path):
    photo = EXAMPLES / "idrid-073.jpg"
    run = CliRunner().invoke(app, ["explain", "retina-drr", str(photo), "--out", str(tmp_path)])
    assert run.exit_code == 2
    assert "did you mean 'retina-dr'" in run.stderr


def test_of_objects_the_surest_is_explained():
    """Two bright squares found by a rule: what is said of the brighter is not of the other."""
    array = np.full((1, 32, 48), 20, np.uint8)
    array[0, 4:8, 4:8], array[0, 20:24, 36:40] = 120, 220
    task = create(
        "detection",
        {
            "labels": ["spot"],
            "stride": 1,
            "multiple": 8,
            "unit": 4.0,
            "image": {"items": ["photo"]},
        },
    )

    def found(inputs):
        image = inputs["image"]  # 0 to 1
        mean = sum(np.roll(image, (h, w), (2, 3)) for h in range(-2, 2) for w in range(-2, 2)) / 16
        nothing = np.zeros((len(image), 2, *image.shape[2:]), np.float32)
        return {"heatmap": 10 * (mean - 0.4), "size": nothing, "offset": nothing}

    case = Case("two", "two", {"photo": Image("photo", array)})
    subject = of_task(task, found, case, source=Source("bundle", "rule"))
    assert subject.value == pytest.approx(1 / (1 + np.exp(-10 * (220 / 255 - 0.4))), abs=1e-3)
    assert re.search(r"'spot' in the box from \(20, 36\) to \(24, 40\)", subject.question)
    dark, other = subject.image.copy(), subject.image.copy()
    dark[:, 18:26, 34:42], other[:, 2:10, 2:10] = 20 / 255, 20 / 255
    without, beside = subject.score(np.stack([dark, other]))
    assert without < 0.05  # the square that is left is another object
    assert beside == pytest.approx(subject.value)
