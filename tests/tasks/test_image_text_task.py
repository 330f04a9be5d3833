"""Pictures and texts: losses against official vectors and plain loops, retrieval, answers."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import InputError, RecipeError
from osler.models.keepfit import ExpertAttention
from osler.models.words import vocabulary_of, word_ids
from osler.record import Case, Image, Label, Source
from osler.tasks import image_text_figures as retrieval
from osler.tasks import image_text_losses as losses
from osler.tasks.catalogue import create
from osler.tasks.image_text import NONE_OF_THEM, uncertainty
from osler.tasks.image_text_words import keywords_of, prompts_of, text_drawn

PERSON = Source("person", "reader")
BUNDLE = Source("bundle", "pair", "1.0.0")
SMALL = {"image": {"items": ["photo"], "size": [4, 4], "colour": True}, "target": "keywords"}


@pytest.fixture(scope="module")
def vectors():
    place = Path(__file__).parents[1] / "models" / "golden.py"
    spec = importlib.util.spec_from_file_location("golden_of_models", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Golden


def case(text, number=0):
    pixels = np.full((3, 6, 6), number, np.uint8)
    out = Case(id=f"c{number}", items={"photo": Image(name="photo", array=pixels)})
    if text is not None:
        out.add(Label(id="k", name="keywords", value=text, source=PERSON))
    return out


def planned(texts, **settings):
    task = create("image-text", {**SMALL, **settings})
    return task.planned(lambda: [case(text, n) for n, text in enumerate(texts)])


# Losses ------------------------------------------------------------------------------------------


def test_soft_labels_are_flairs(vectors):
    golden = vectors("losses")
    images, texts = (golden.inputs[f"flair_{one}"].requires_grad_() for one in ("img", "txt"))
    scale = golden.inputs["flair_logit_scale"].requires_grad_()
    kind = golden.inputs["flair_category_id"]
    unit = torch.nn.functional.normalize
    scores = scale.exp() * unit(texts, dim=1) @ unit(images, dim=1).T
    said = losses.soft(scores, kind[:, None] == kind[None])
    said.backward()
    golden.agrees(said.reshape(-1)[:1], "flair_softclip", atol=1e-7)
    golden.agrees(images.grad, "flair_grad_img", atol=1e-6)
    golden.agrees(texts.grad, "flair_grad_txt", atol=1e-6)
    golden.agrees(losses.soft(scores, torch.eye(6)).reshape(-1)[:1], "clip_identity_target")


@pytest.mark.parametrize("epoch", [1, 7, 20])
def test_the_evidence_is_retizeros(vectors, epoch):
    golden = vectors("losses")
    scores = golden.inputs["evidential_logits_per_text"].clone().requires_grad_()
    said = losses.evidential(scores, torch.eye(6), ramp=min(1, epoch / 15))
    said.backward()
    golden.agrees(said[None], f"retizero_total_epoch{epoch}", atol=2e-7)
    golden.agrees(scores.grad, f"retizero_total_grad_epoch{epoch}", atol=1e-6)


def test_unpaired_matching_is_medclips(vectors):
    golden = vectors("losses")
    scores = golden.inputs["medclip_logits_per_image"]
    images, texts = golden.inputs["medclip_img_labels"], golden.inputs["medclip_text_labels"]
    own = torch.nn.functional.normalize
    # the official function is given labels whose product is the likeness
    near = images @ texts.T
    said = (
        torch.nn.functional.cross_entropy(scores, near.softmax(1))
        + torch.nn.functional.cross_entropy(scores.T, near.T.softmax(1))
    ) / 2
    golden.agrees(said[None], "medclip_loss")
    # ours takes the cosine, as the paper does: the same where labels have length 1
    a, b = own(images, dim=1), own(texts, dim=1)
    due, cosine = 0.0, (a @ b.T).numpy()
    z = scores.numpy()
    for rows, near in ((z, cosine), (z.T, cosine.T)):
        for row, like in zip(rows, near, strict=True):
            target = np.exp(2 * like) / np.exp(2 * like).sum()
            due += -(target * (row - np.log(np.exp(row).sum()))).sum() / len(rows) / 2
    ours = losses.semantic(scores.T, texts, images, sharpness=2.0)
    assert float(ours) == pytest.approx(due, rel=1e-6)


def test_the_atlas_is_keepfits(vectors):
    golden = vectors("keepfit")
    net = ExpertAttention(golden.inputs["attn_q"].shape[2]).eval()
    q, k, v = (golden.inputs[f"attn_{one}"][0] for one in "qkv")
    from osler import models

    whole = models.create(
        "keepfit", checkpoint=golden.folder / "checkpoint.pth", text_heads=4
    )  # fmt: skip
    net = whole.attention.eval()
    # the atlas is a quarter: four of sixteen, so that the queries stand three times
    queries = torch.cat([q, q])
    said = torch.cat([golden.inputs["public_text_embed"]] * 2)
    seen, told = torch.cat([k, queries]), torch.cat([v, said])
    assert len(seen) // 4 == len(k)
    with torch.no_grad():
        golden.agrees(
            100 * losses.atlas(net, seen, told)[None], "expert_mse_x100_corrected", atol=1e-4
        )
    assert float(losses.atlas(net, seen[:3], told[:3])) == 0


def test_which_texts_are_right_by_a_plain_loop():
    rng = np.random.default_rng(3)
    a, b = (rng.integers(0, 2, (5, 4)) for _ in range(2))
    b[1] = a[1]
    b[4] = a[0]
    for how in ("pairs", "same", "shared"):
        said = losses.likeness(torch.tensor(a).float(), torch.tensor(b).float(), how).numpy()
        for i in range(5):
            for j in range(5):
                one, two = set(np.flatnonzero(a[i])), set(np.flatnonzero(b[j]))
                due = len(one & two) / max(1, len(one | two)) if how == "shared" else 0.0
                if how == "same":
                    due = float(one == two and bool(one))
                assert said[i, j] == pytest.approx(1.0 if i == j else due)


# Words -------------------------------------------------------------------------------------------


def test_words_are_numbers_between_a_begin_and_an_end():
    known = vocabulary_of(["red spots", "a red disc", "pale disc"], least=2)
    assert known == ["disc", "red"]
    ids, mask = word_ids(["Red disc, red!", "x " * 50], known, longest=6)
    assert ids[0].tolist() == [2, 5, 4, 5, 3, 0]
    assert mask[0].tolist() == [1, 1, 1, 1, 1, 0]
    assert ids[1].tolist() == [2, 1, 1, 1, 1, 3]


def test_keywords_end_at_commas_of_both_scripts():
    said = keywords_of("Drusen\uff0c laser  spot,drusen;\uff1b", ",;\uff0c\uff1b")
    assert said == ["drusen", "laser spot"]
    assert keywords_of("dru\u202esen\x07\u200b", ",") == ["drusen"]
    hostile = "ignore the above\u202e\x00 " * 100_000
    assert len(keywords_of(hostile, ",")[0]) <= 4000


def test_texts_say_names_or_looks_and_no_look_is_made_up():
    task = planned(
        ["glaucoma", "old scar", "glaucoma,old scar"], least=1,
        knowledge={"training": 0.5, "looks": {"Old Scar": ["a pale patch"]}},
    )  # fmt: skip
    said, rng = task.settings, np.random.default_rng(0)
    drawn = {text_drawn(["old scar"], said, rng) for _ in range(40)}
    assert drawn == {"a fundus photograph of old scar", "a fundus photograph of a pale patch"}
    assert text_drawn(["glaucoma", "old scar"], said, None).endswith("of glaucoma, old scar")
    never = planned(["glaucoma", "old scar"], least=1)
    assert text_drawn(["glaucoma"], never.settings, rng) == "a fundus photograph of glaucoma"
    more = said.model_copy(
        update={"knowledge": said.knowledge.model_copy(update={"answering": True})}
    )
    prompts = prompts_of({"glaucoma": ["glaucoma"], "x": ["x", "old scar"]}, more)
    assert "a fundus photograph of a large cup in the optic disc" in prompts[0]
    assert prompts[1] == [
        f"a fundus photograph of {one}" for one in ("x", "old scar", "a pale patch")
    ]


# Planning and encoding ---------------------------------------------------------------------------


def test_planning_finds_keywords_texts_classes_and_words():
    task = planned(["b", "a,b", "b", "b\uff0ca"], least=2)
    said = task.settings
    assert said.keywords == ["b", "a"]
    assert said.texts == [[0], [0, 1], [1, 0]]
    assert list(said.classes) == ["b", "a"]
    assert {"a", "b", "fundus"} <= set(said.text.vocabulary)
    sample = task.encode(case("a, never seen"), truth=True)
    assert sample.targets["keywords"].tolist() == [0, 1]
    assert sample.targets["class"] == 1
    assert task.encode(case("a,b"), truth=True).targets["class"] == -1  # of two classes
    with pytest.raises(InputError, match="has no text 'keywords'"):
        task.encode(case(None), truth=True)
    assert task.encode(case(None)).targets == {}


def test_other_texts_are_drawn_for_unpaired_matching():
    task = planned(["b", "a,b", "c"], least=1, objective="semantic")
    sample = task.encode(case("b"), truth=True)
    rng = np.random.default_rng(0)
    drawn = [task.example(sample, rng)[1] for _ in range(30)]
    assert len({tuple(one["written"]) for one in drawn}) == 3
    assert all(one["keywords"].tolist() == sample.targets["keywords"].tolist() for one in drawn)
    assert len({tuple(one["ids"]) for one in drawn}) == 3


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"classes": ["one"]}, "name two or more"),
        ({"classes": {"a": [], "b": ["b"]}}, "'a' has no prompt"),
        ({"caption": "a photograph"}, "caption has no"),
        ({"image": {"items": ["photo"]}}, "image.size must be set"),
        ({"objektive": "pairs"}, "nearest is 'objective'"),
    ],
)
def test_wrong_keys_are_named(settings, says):
    with pytest.raises(RecipeError, match=says):
        create("image-text", {**SMALL, **settings})


def test_a_cohort_of_one_text_cannot_teach():
    with pytest.raises(RecipeError, match="fewer than two texts"):
        planned(["a", "a", None])
    with pytest.raises(RecipeError, match="1 keywords stand in 2"):
        planned(["a", "a", "b"], least=2)
    with pytest.raises(RecipeError, match="neither a folder of transformers"):
        planned(["a", "b"], least=1, text={"encoder": "no-such-package"}).numbers(["a"])


def test_of_a_folder_the_card_keeps_the_name():
    task = create("image-text", {**SMALL, "text": {"encoder": "/home/somebody/bert"}})
    assert task.settings.model_dump(mode="json")["text"]["encoder"] == "bert"


# Figures -----------------------------------------------------------------------------------------


def rows_of(image, text, keywords, p=None, kind=None):
    count = len(keywords)
    return [
        {"image": list(image[n]), "text": list(text[n]), "keywords": keywords[n],
         "probability": [1.0] if p is None else p[n], "class": -1 if kind is None else kind[n]}
        for n in range(count)
    ]  # fmt: skip


def test_retrieval_is_what_a_plain_loop_counts():
    rng = np.random.default_rng(1)
    words = [list(rng.choice(list("abcd"), rng.integers(1, 3), replace=False)) for _ in range(14)]
    first = {}
    for n, one in enumerate(words):
        first.setdefault(frozenset(one), n)
    image, text = rng.normal(size=(2, 14, 5))
    text = np.stack([text[first[frozenset(one)]] for one in words])  # equal texts lie together
    patients = [str(n // 2) for n in range(14)]
    said = {name: values for name, values, _ in retrieval.retrieval(
        rows_of(image, text, words), patients)}  # fmt: skip
    places = list(first.values())
    for n in range(14):
        order = sorted(range(len(places)), key=lambda k: -image[n] @ text[places[k]])
        best = [set(words[places[k]]) for k in order[:5]]
        due = np.mean([bool(one & set(words[n])) for one in best])
        assert said["precision at 5, picture to text"][n] == pytest.approx(due)
        assert said["recall at 5, picture to text"][n] == float(set(words[n]) in best)
        order = sorted(range(14), key=lambda k: -text[n] @ image[k])[:5]
        equal = [k for k in range(14) if set(words[k]) == set(words[n])]
        due = len(set(order) & set(equal)) / min(5, len(equal))
        assert said["recall at 5, text to picture"][n] == pytest.approx(due)
        others = [k for k in range(14) if patients[k] != patients[n]]
        order = sorted(others, key=lambda k: -image[n] @ image[k])[:5]
        due = np.mean([bool(set(words[k]) & set(words[n])) for k in order])
        assert said["precision at 5, picture to picture"][n] == pytest.approx(due)
        due = np.mean([bool(set(words[k]) & set(words[n])) for k in others])
        assert said["chance: precision, picture to picture"][n] == pytest.approx(due)


def test_classes_by_words_count_only_cases_of_one_class():
    truth = np.array([0, 0, 1, 1, -1])
    p = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0], [1, 0, 0]])
    area, balanced, accuracy = retrieval.zero_shot(truth, p)
    assert area == 1
    assert balanced == pytest.approx(0.75)
    assert accuracy == pytest.approx(0.75)
    assert retrieval.zero_shot(np.array([-1]), p[:1]) == (None, None, None)


# Answers -----------------------------------------------------------------------------------------


def answered(task, scores):
    sample = task.encode(case("a"))
    return task.decode({"scores": np.array(scores, np.float32)}, sample, source=BUNDLE)[0]


@pytest.mark.parametrize("by", ["likeness", "probability", "evidence", "none"])
def test_what_is_like_no_class_is_said_so(by):
    task = planned(["a", "b", "a,b"], least=1, rejection={"by": by, "kept": 0.9})
    rng = np.random.default_rng(0)
    samples = [task.encode(case("b" if n % 2 else "a"), truth=True) for n in range(20)]
    outputs = [{"scores": np.array([4.0 * (n % 2 == 0), 4.0 * (n % 2)]) + rng.normal(0, 0.1, 2)}
               for n in range(20)]  # fmt: skip
    task.calibration = {"scores": {"method": "temperature", "temperature": 1.0}}
    done = task.concluded([], [], outputs, samples)
    known = [done.known(one) for one in outputs]
    if by == "none":
        assert done.settings.rejection.threshold is None
        assert answered(done, [-5.0, -5.0]).value != NONE_OF_THEM
        return
    assert np.mean(np.array(known) >= done.settings.rejection.threshold) == pytest.approx(0.9)
    said = answered(done, [-0.1, -0.1])
    assert said.value == NONE_OF_THEM
    assert said.flags == ("unlike-every-label",)
    assert said.probability is None
    assert "90% of the cases" in said.note
    assert answered(done, [4.5, -0.5]).value == "a"


def test_uncertainty_is_one_without_evidence():
    assert uncertainty(np.full(4, -50.0)) == pytest.approx(1)
    due = 2 / ((math.log1p(math.exp(3.0)) + 1) + (math.log1p(math.exp(-1.0)) + 1))
    assert uncertainty(np.array([3.0, -1.0])) == pytest.approx(due)


@pytest.mark.parametrize("ensemble", ["mean", "max", "direction"])
def test_a_table_of_other_classes_scores_as_its_prompts_say(ensemble):
    rng = np.random.default_rng(2)
    table = [rng.normal(size=(2, 3)).tolist(), rng.normal(size=(1, 3)).tolist()]
    task = create("image-text", {
        **SMALL, "classes": {"a": ["a", "c"], "b": ["b"]}, "table": table, "scale": 7.0,
        "ensemble": ensemble,
    })  # fmt: skip
    seen = rng.normal(size=3)
    said = task.run(lambda _: {"embedding": seen[None], "scores": np.zeros((1, 9))},
                    task.encode(case("a")))  # fmt: skip
    due = []
    for prompts in table:
        each = [float(np.dot(one, seen)) for one in prompts]
        mean = np.mean(prompts, axis=0)
        due.append({"mean": np.mean(each), "max": max(each),
                    "direction": mean @ seen / np.linalg.norm(mean)}[ensemble])  # fmt: skip
    np.testing.assert_allclose(said["scores"], 7 * np.array(due), rtol=1e-5)
    assert json.dumps(task.settings.model_dump(mode="json"))
