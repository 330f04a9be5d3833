"""Texts as bags of words, which of them are alike, and pretraining with them."""

import json

import pytest
import torch

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies import image_text as module
from osler.learn.strategies.image_text import ImageText, alike, bags_of, vocabulary, with_text
from osler.tasks.task import Sample

TEXTS = [{"mild", "oedema"}, {"normal"}, {"oedema", "severe", "mild"}, {"normal"}]
SHORT = {"steps": 3, "batch": 4, "hidden": 8, "projection": 4, "text": "site"}


def test_texts_are_alike_as_by_plain_loops():
    words = vocabulary(TEXTS)
    assert words == ["mild", "normal", "oedema", "severe"]
    bags = bags_of(TEXTS, {word: number for number, word in enumerate(words)})
    assert bags.tolist() == [[float(word in text) for word in words] for text in TEXTS]
    shares = [[len(a & b) / len(a | b) for b in TEXTS] for a in TEXTS]
    torch.testing.assert_close(alike(bags, "words"), torch.tensor(shares))
    assert alike(bags, "same").tolist() == [[float(a == b) for b in TEXTS] for a in TEXTS]
    assert alike(bags, "pairs").tolist() == torch.eye(4).tolist()


def test_cases_without_words_do_not_take_part():
    class _Context:
        variables = {"c0": {"note": "A cup."}, "c1": {"note": " - "}, "c2": {"note": "No cup"}}  # noqa: RUF012

    samples = [Sample(f"c{n}", f"p{n}", {}) for n in range(4)]
    kept, texts = with_text(samples, _Context, "note")
    assert [one.id for one in kept] == ["c0", "c2"]
    assert texts == [{"a", "cup"}, {"no", "cup"}]
    with pytest.raises(RecipeError, match="the cohort's variables are: note"):
        with_text(samples, _Context, "report")


@pytest.mark.usefixtures("graphless")
def test_pretraining_goes_on_to_the_bit(recipe, classify, tmp_path, monkeypatch):
    learner = {"steps": 2, "checkpoint_minutes": 0}
    path = recipe(
        classify, strategies={"image-text": SHORT}, learner=learner, labels={"share": 0.5}
    )
    fit(path, out=tmp_path / "whole", strategies=[ImageText])
    real, calls = module.soft_clip, []

    def tired(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "soft_clip", tired)
    with pytest.raises(KeyboardInterrupt):
        fit(path, out=tmp_path / "parts", strategies=[ImageText])
    monkeypatch.setattr(module, "soft_clip", real)
    fit(path, out=tmp_path / "parts", resume=True, strategies=[ImageText])
    for place in ("image-text/checkpoint.pt", "checkpoint.pt"):
        first, second = (
            torch.load(tmp_path / one / place, weights_only=True) for one in ("whole", "parts")
        )
        for name, value in first["net"].items():
            assert torch.equal(value, second["net"][name]), (place, name)
    kept = json.loads((tmp_path / "whole" / "run.json").read_text())["strategies"]["image-text"]
    assert kept["words"] == 2
    assert kept["weights"] == "image-text.safetensors"
