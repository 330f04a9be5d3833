"""Generation: noise and drawing against MONAI, figures against the metrics, learning end to end."""

import numpy as np
import pytest
import yaml
from PIL import Image as Pillow
from pydantic import ValidationError

from osler import bundles, metrics
from osler.bundles.answering import answer
from osler.data.cohort import read_cohort
from osler.data.opening import open_row
from osler.errors import InputError
from osler.io.derived_images import write_images
from osler.io.findings_json import read_findings, write_findings
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe
from osler.record import Case, DerivedImage, Label, Source, Table
from osler.tasks import generation_figures as figures_of
from osler.tasks.generation_sampling import Diffusion, drawn, noisy, seeded
from osler.tasks.generation_settings import GenerationSettings

PERSON = Source("person", "reader")


@pytest.mark.parametrize("predicts", ["epsilon", "velocity"])
@pytest.mark.parametrize("bounded", [True, False])
def test_drawing_is_that_of_monai(predicts, bounded):
    torch = pytest.importorskip("torch")
    schedulers = pytest.importorskip("monai.networks.schedulers")
    said = Diffusion(steps=100, draws=10, predicts=predicts)
    theirs = schedulers.DDIMScheduler(
        num_train_timesteps=100, schedule="scaled_linear_beta", beta_start=said.start,
        beta_end=said.end, clip_sample=bounded,
        prediction_type="epsilon" if predicts == "epsilon" else "v_prediction",
    )  # fmt: skip
    theirs.set_timesteps(10)  # whose places do not fit its steps; these do
    theirs.timesteps = torch.arange(90, -1, -10)
    rng = np.random.default_rng(1)
    start = rng.standard_normal((1, 4, 4)).astype(np.float32)
    x = torch.from_numpy(start)[None]

    def denoise(x, time):
        return np.tanh(x * (1 + time / 50))

    for time in theirs.timesteps:
        told = torch.from_numpy(denoise(x.numpy(), int(time)))
        x, _ = theirs.step(told, int(time), x)
    mine = drawn(denoise, start, said, rng=rng, bounded=bounded)
    assert np.allclose(mine, x.numpy()[0], atol=1e-4)


def test_noise_is_added_as_monai_adds_it():
    torch = pytest.importorskip("torch")
    schedulers = pytest.importorskip("monai.networks.schedulers")
    theirs = schedulers.DDPMScheduler(
        num_train_timesteps=1000, schedule="scaled_linear_beta", beta_start=0.0015, beta_end=0.0195
    )
    rng = np.random.default_rng(2)
    clean, noise = rng.standard_normal((2, 1, 4, 4)).astype(np.float32)
    shown, wanted = noisy(clean, noise, 321, Diffusion())
    time = torch.tensor([321])
    one, other = torch.from_numpy(clean)[None], torch.from_numpy(noise)[None]
    assert np.allclose(shown, theirs.add_noise(one, other, time).numpy()[0], atol=1e-4)
    assert np.allclose(wanted, theirs.get_velocity(one, other, time).numpy()[0], atol=1e-4)


def test_a_sure_denoiser_draws_what_it_is_sure_of():
    said = Diffusion(draws=20)
    clean = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 4, 4)
    kept = said.kept()

    def denoise(x, time):
        noise = (x - kept[time] ** 0.5 * clean) / (1 - kept[time]) ** 0.5
        return kept[time] ** 0.5 * noise - (1 - kept[time]) ** 0.5 * clean

    start = seeded(1).standard_normal(clean.shape).astype(np.float32)
    for eta in (0.0, 1.0):
        one = said.model_copy(update={"eta": eta})
        out = drawn(denoise, start, one, rng=seeded(2), bounded=False)
        assert np.allclose(out, clean, atol=1e-4)


def rows_of(count=40, *, moved=0.0):
    rng = np.random.default_rng(3)
    rows = []
    for n in range(count):
        real, made, taught = rng.normal(size=(3, 4))
        rows.append({
            "label": "a", "real": list(real), "made": list(made * 0.8 + moved),
            "taught": list(taught), "gaussian": list(made * 3 + 2), "told_real": n % 4 > 0,
            "told_made": n % 2 > 0, "nearest": float(rng.random()), "usual": float(rng.random()),
        })  # fmt: skip
    return rows


def test_figures_are_those_of_the_metrics():
    rows = rows_of()
    patients = [str(n) for n in range(len(rows))]
    said = {"seed": 1, "replicates": 60}
    real, made = (np.array([row[key] for row in rows]) for key in ("real", "made"))
    distances = {one.name: one for one in figures_of.distance_figures(rows, patients, **said)}
    one = distances["Fréchet distance, drawn"].interval
    assert one.value == pytest.approx(metrics.frechet_distance(real, made))
    assert one.low <= one.value <= one.high
    blurred = distances["Fréchet distance, a Gaussian of each pixel"].interval.value
    assert blurred > 3 * distances["Fréchet distance, real pictures that taught"].interval.value
    alike = figures_of.likeness_figures(rows, patients, **said)
    assert [one.interval.value for one in alike] == pytest.approx(
        metrics.manifold_precision_recall(real, made)
    )
    told = [one.interval.value for one in figures_of.told_figures(rows, patients, **said)]
    assert told == pytest.approx([0.5, 0.75])


def test_copies_are_those_of_the_memorisation_test():
    rng = np.random.default_rng(4)
    taught, held = rng.normal(size=(2, 60, 3))
    made = np.concatenate([taught[:30] + 1e-3, rng.normal(size=(30, 3))])
    wanted = metrics.memorisation_test(taught, held, made)
    nearest, usual = wanted.nearest, wanted.usual
    assert figures_of.copies(nearest, usual) == pytest.approx(wanted.copies)
    slow = np.mean([(u > n) + 0.5 * (u == n) for u in usual for n in nearest])
    assert figures_of.nearer(nearest, usual) == pytest.approx(slow)
    assert figures_of.nearer(usual, usual) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"label": "class", "image": {}}, "image.size"),
        ({}, "set one of them"),
        ({"masks": ["disc"]}, 'need the method "adversarial"'),
        ({"label": "class", "method": "adversarial", "latent": {}}, "'latent' needs"),
        ({"label": "class", "latent": {"widths": [8, 8, 8, 8, 8]}}, "not divisible by 16"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        GenerationSettings.model_validate({"image": {"size": [24, 24]}, **wrong})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Bright and dark discs with their masks."""
    folder = tmp_path_factory.mktemp("discs")
    lines = ["case_id,patient_id,fold,photo,label:disc,label:class"]
    hh, ww = np.mgrid[:16, :16]
    for n in range(24):
        rng = np.random.default_rng(n)
        h, w = rng.integers(5, 11, 2)
        mask = np.hypot(hh - h, ww - w) < 4
        picture = 128 + (100 if n % 2 else -100) * mask + rng.normal(0, 3, mask.shape)
        Pillow.fromarray(picture.astype(np.uint8)).save(folder / f"{n}.png")
        Pillow.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{n}.mask.png")
        word = "bright" if n % 2 else "dark"
        lines.append(f"c{n},p{n},{n // 2 % 3},{n}.png,{n}.mask.png,{word}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n")
    return folder


SMALL = {"widths": [8, 8], "blocks": 1, "attention": [False, True], "head_channels": 8, "groups": 4}
KINDS = {
    "pixels": ({"label": "class", "diffusion": {"draws": 4}}, SMALL, 40),
    "codes": (
        {"label": "class", "diffusion": {"draws": 2}, "latent": {"widths": [8, 8]}}, SMALL, 3,
    ),
    "against a judge": (
        {"masks": ["disc"], "method": "adversarial", "style": 8},
        {"widths": [8, 16], "hidden": 8}, 3,
    ),
}  # fmt: skip


def written(place, kind):
    settings, options, steps = KINDS[kind]
    recipe = {
        "name": "discs", "task": "generation", "cohort": "cohort.csv",
        "hold": {"test": 0, "tune": None},
        "settings": {"image": {"items": ["photo"], "size": [16, 16]}, "count": 2, **settings},
        "network": {"options": options},
        "learner": {"steps": steps, "batch": 8, "rate": 0.01, "warmup": 2, "ema": 0.8,
                    "precision": "float32"},
    }  # fmt: skip
    path = place / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def check_pictures(found):
    assert len(found) == 2
    for one in found:
        assert isinstance(one, DerivedImage)
        assert "synthetic" in one.flags
        assert "synthetic" in one.image.flags
        assert one.image.array.shape == (1, 16, 16)
        assert one.image.array.dtype == np.uint8
    assert not np.array_equal(found[0].image.array, found[1].image.array)


def test_pictures_are_drawn_by_the_bundle_without_torch_and_flagged(place, tmp_path):
    run = fit(written(place, "pixels"), out=tmp_path / "run")
    figures = {one["name"]: one["value"] for one in run.metrics}
    assert "Fréchet distance, drawn" in figures
    assert "copies among drawn pictures" in figures
    case = Case("wanted")
    case.add(Label(id="class", name="class", source=PERSON, value="bright"))
    found = answer(bundles.load(run.bundle), case)
    check_pictures(found)
    folder = tmp_path / "out"
    folder.mkdir()
    write_findings(case, folder)
    write_images(case, folder)
    again = read_findings(folder)
    assert "synthetic" in again[found[0].id].image.flags


@pytest.mark.parametrize("kind", ["codes", "against a judge"])
def test_every_part_of_a_network_learns_and_the_whole_draws(place, kind):
    import torch

    from osler.learn.asking import outputs_of
    from osler.learn.networks import build

    path = written(place, kind)
    recipe, task = check_recipe(yaml.safe_load(path.read_text()), path)
    cohort = read_cohort(place / "cohort.csv")
    cases = [open_row(row, cohort) for row in cohort.rows[:4]]
    task = task.planned(lambda: iter(cases))
    net = build(recipe, task, path)
    samples = [task.encode(case, truth=True) for case in cases]
    made = [task.example(one, np.random.default_rng(n)) for n, one in enumerate(samples)]
    inputs, targets = (
        {key: torch.from_numpy(np.stack([np.asarray(pair[k][key]) for pair in made]))
         for key in made[0][k]} for k in (0, 1)
    )  # fmt: skip
    task.loss(net, inputs, targets, step=0).backward()
    for name, part in net.named_children():
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters()), name
    outputs = outputs_of(net.eval(), task, samples[0])
    check_pictures(task.decode(outputs, samples[0], source=Source("bundle", "x", "1.0.0")))
    assert {"real", "made"} <= set(task.judge(outputs, samples[0]))


def test_a_case_that_does_not_say_what_to_draw_is_refused():
    from osler.tasks.catalogue import create

    task = create(
        "generation",
        {"image": {"size": [8, 8]}, "label": "class", "labels": ["a", "b"]},
    )
    with pytest.raises(InputError, match="has no label 'class'"):
        task.encode(Case("x"))
    row = Case("row", items={"variables": Table("variables", {"class": "b"})})
    assert task.encode(row).group == "b"
    case = Case("y")
    case.add(Label(id="class", name="class", source=PERSON, value="c"))
    with pytest.raises(InputError, match="draws a, b"):
        task.encode(case)
