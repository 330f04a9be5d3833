"""CLIP-Adapter, TIP-Adapter and learned prompts: official vectors, plain oracles, whole runs."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from tuning_runs import goes_on_to_the_bit

from osler import models
from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.strategies.clip_adapter import ClipAdapter, mixed
from osler.learn.strategies.learned_prompts import LearnedPrompts, PromptedSentences, word_table
from osler.learn.strategies.sentences import SentenceClassifier
from osler.learn.strategies.tip_adapter import Cached, TipAdapter
from osler.models.zero_shot import ImageText

WAYS = [ClipAdapter, TipAdapter, LearnedPrompts]
KEYS = {"clip-adapter": {}, "tip-adapter": {"fine_tune": True}, "learned-prompts": {"length": 2}}


def golden(name):
    named, data = os.environ.get("OSLER_GOLDEN"), os.environ.get("OSLER_DATA")
    shared = Path(data).parent if data else Path(__file__).parents[4] / "shared"
    folder = (Path(named) if named else shared / "golden") / name
    if not folder.is_dir():
        pytest.skip(f"no golden vectors at {folder}")
    return folder


@pytest.fixture(scope="module")
def vectors():
    out = {}
    for one in ("inputs", "outputs"):
        with np.load(golden("training") / f"{one}.npz", allow_pickle=False) as stored:
            out |= {k: torch.from_numpy(np.asarray(stored[k])) for k in stored.files}
    limits = json.loads((golden("training") / "card.json").read_text())["tolerance"]
    return out, limits


class Given(ImageText):
    """A network whose pictures are their embeddings."""

    def __init__(self, scale):
        super().__init__()
        self.most_scale = None
        self.logit_scale = nn.Parameter(torch.tensor(float(scale)).log())

    def embed_image(self, image):
        return image


def agrees(said, vectors, name):
    out, limits = vectors
    np.testing.assert_allclose(
        said.detach().numpy(), out[name].numpy(), rtol=limits["rtol"], atol=5e-5, err_msg=name
    )


def test_the_official_vectors_are_met(vectors):
    at, _ = vectors
    seen, texts = at["query_embed"], at["text_embed"]
    net = SentenceClassifier(Given(at["logit_scale"].exp()), texts)
    agrees(net(seen), vectors, "zeroshot_logits")
    both = mixed(seen, at["clip_adapter_w1"], at["clip_adapter_w2"], 0.2)
    agrees(both, vectors, "clip_adapter_features")
    agrees(net.scores(both), vectors, "clip_adapter_logits")
    # the official code takes 100 for the network's factor in use
    net = SentenceClassifier(Given(100), texts)
    cached = Cached(net, at["support_embed"], at["support_label"], alpha=1, beta=5)
    agrees(cached(seen), vectors, "tip_adapter_logits")
    agrees(cached(seen).softmax(1), vectors, "tip_adapter_probs")


def test_a_cache_is_what_the_paper_says():
    rng = np.random.default_rng(0)

    def unit(*shape):
        x = rng.normal(size=shape)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    seen, keys, texts, classes = unit(3, 5), unit(4, 5), unit(2, 5), [0, 1, 1, 0]
    due = np.zeros((3, 2))
    for n in range(3):
        for k in range(2):
            due[n, k] = 7 * seen[n] @ texts[k]
            for m in range(4):
                near = np.exp(-3 * (1 - seen[n] @ keys[m]))
                due[n, k] += 0.5 * near * (classes[m] == k)
    t = [torch.tensor(one, dtype=torch.float32) for one in (seen, keys, texts)]
    net = SentenceClassifier(Given(7), t[2])
    said = Cached(net, t[1], torch.tensor(classes), alpha=0.5, beta=3.0)(t[0])
    np.testing.assert_allclose(said.detach().numpy(), due, rtol=1e-4)


def flair():
    folder = golden("flair")
    return models.create("flair", checkpoint=folder / "checkpoint.pth", text_heads=4)


@pytest.mark.parametrize("length", [0, 3])
def test_vectors_take_the_place_of_words(length):
    """With the words' own vectors the text is the text; with others BERT sees those."""
    net = flair().eval()
    names = ["glaucoma", "macular hole"]
    words = "" if length else "a photograph of"
    plain = SentenceClassifier(net, net.encode_text(names))
    made = PromptedSentences(plain, names, words=words, length=length or 1)
    table = net.get_submodule(word_table(net, names))
    if not length:
        due = net.embed_text(*net.tokenize([f"{words} {name}" for name in names]))
    else:
        ids = made.ids
        vectors = table(ids).detach()
        vectors[:, 1 : 1 + length] = made.context.detach()
        given = table.forward
        table.forward = lambda _: vectors
        due = net.embed_text(ids, made.mask)
        table.forward = given
    torch.testing.assert_close(made.embedded(), due, rtol=1e-4, atol=1e-5)
    made.embedded().sum().backward()
    assert made.context.grad.abs().max() > 0
    assert not table._forward_hooks


@pytest.fixture
def worded(classify, shapes):
    """A recipe with the small FLAIR of the vectors."""
    place = os.path.relpath(golden("flair") / "checkpoint.pth", shapes)
    options = {"text_heads": 4, "image_size": 32}
    return {**classify, "network": {"name": "flair", "checkpoint": place, "options": options}}


@pytest.mark.parametrize("way", WAYS)
def test_only_what_it_adds_learns_and_goes_on_to_the_bit(recipe, worded, tmp_path, way):
    keys = {way.name: KEYS[way.name]}
    learnt = goes_on_to_the_bit(recipe, worded, way, tmp_path, strategies=keys)
    own = flair().state_dict()
    for name, value in learnt.items():
        inner = name.removeprefix("net.net.")
        if inner in own:
            assert torch.equal(value, own[inner]), name


@pytest.mark.parametrize("way", [TipAdapter, LearnedPrompts])
def test_the_bundle_holds_no_encoder_of_texts(recipe, worded, tmp_path, way):
    keys = {} if way is TipAdapter else KEYS[way.name]
    prompts = {"disc": ["optic disc", "a disc"]}
    path = recipe(worded, strategies={way.name: {**keys, "prompts": prompts}})
    run = fit(path, out=tmp_path, strategies=WAYS)
    graph = onnx.load(run.bundle / "model.onnx").graph
    assert not [one.name for one in graph.initializer if ".text." in one.name]
    assert [one.name for one in graph.input] == ["image"]
    assert (tmp_path / "checkpoint.pt").exists() == (way is not TipAdapter)


@pytest.mark.parametrize(
    ("strategies", "said"),
    [
        ({"tip-adapter": {}}, "has no space of pictures and texts"),
        ({"clip-adapter": {"caption": "a picture"}}, "has no {} for the label"),
        ({"clip-adapter": {}, "tip-adapter": {}}, "it says itself which weights learn"),
    ],
)
def test_what_cannot_be_is_refused(recipe, classify, tmp_path, strategies, said):
    with pytest.raises(RecipeError, match=said):
        fit(recipe(classify, strategies=strategies), out=tmp_path, strategies=WAYS)


def test_what_the_sentences_lack_is_said(recipe, worded, tmp_path):
    path = recipe(worded, strategies={"clip-adapter": {"prompts": {"dics": ["a"]}}})
    with pytest.raises(RecipeError, match="prompts names 'dics'; the labels are 'disc', 'square'"):
        fit(path, out=tmp_path / "a", strategies=WAYS)
    path = recipe(worded, strategies={"learned-prompts": {"words": "a " * 200}})
    with pytest.raises(RecipeError, match="say fewer"):
        fit(path, out=tmp_path / "b", strategies=WAYS)
