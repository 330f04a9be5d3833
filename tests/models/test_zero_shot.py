"""Pictures are classified by sentences, and what is missing for it is said."""

import shutil

import numpy as np
import pytest
import torch
from golden import Golden
from torch import nn

from osler import models
from osler.errors import InputError, RecipeError, UnreadableError
from osler.models.descriptions import described, known_labels, looks_of
from osler.models.preprocessing import Preprocessing
from osler.models.zero_shot import ImageText

PICTURES = list(np.random.default_rng(0).integers(0, 256, (5, 3, 40, 60), dtype=np.uint8))


class Words(ImageText):
    """A network whose numbers can be checked by hand: a text is where its letters are."""

    image_size = 4
    longest = 8
    card = None

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(3.0).log())

    @property
    def preprocessing(self):
        return Preprocessing(steps=[{"divide": 255}, {"resize": [4, 4]}])

    def embed_image(self, image):
        return torch.nn.functional.normalize(image.mean(dim=(2, 3)), dim=1)

    def tokenize(self, texts):
        ids = torch.tensor([[text.count(letter) for letter in "abc"] for text in texts])
        return ids, torch.ones_like(ids)

    def embed_text(self, input_ids, attention_mask):
        return torch.nn.functional.normalize(input_ids.float(), dim=1)


def shown(*colours):
    return [np.full((3, 4, 4), 1, np.uint8) * np.array(c, np.uint8)[:, None, None] for c in colours]


def test_scores_are_the_scaled_cosines_and_sum_to_one():
    said = Words().zero_shot(shown((255, 0, 0), (0, 255, 0)), ["a", "bbb"])
    assert said.labels == ("a", "bbb")
    torch.testing.assert_close(said.logits, torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
    torch.testing.assert_close(said.probabilities.sum(1), torch.ones(2))
    assert said.probabilities.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("ensemble", "due"), [("mean", 1.5), ("max", 3.0), ("direction", 3 / 2**0.5)]
)
def test_prompts_become_one_score(ensemble, due):
    said = Words().zero_shot(
        shown((255, 0, 0)), {"one": ["a", "b"], "two": ["c"]}, ensemble=ensemble
    )
    torch.testing.assert_close(said.logits, torch.tensor([[due, 0.0]]))


def test_labels_are_put_into_the_caption():
    net = Words()
    net.caption = "{}{}b"
    plain = net.zero_shot(shown((255, 255, 0)), ["a"], caption="{}")
    said = net.zero_shot(shown((255, 255, 0)), ["a"])
    torch.testing.assert_close(plain.logits, torch.tensor([[3 / 2**0.5]]))
    torch.testing.assert_close(said.logits, torch.tensor([[3 * 3 / 10**0.5]]))
    with pytest.raises(RecipeError, match=r"has no \{\} for the label"):
        net.zero_shot(PICTURES, ["a"], caption="a photograph")


def test_batches_change_nothing():
    net = Words()
    whole = net.zero_shot(PICTURES, ["a", "b"], batch=16).logits
    assert torch.equal(net.zero_shot(PICTURES, ["a", "b"], batch=2).logits, whole)
    assert torch.equal(net.zero_shot(np.stack(PICTURES), ["a", "b"]).logits, whole)
    assert torch.equal(net.zero_shot(PICTURES[0], ["a", "b"]).logits, whole[:1])
    prepared = torch.stack([torch.from_numpy(net.preprocessing(one)) for one in PICTURES])
    assert torch.equal(net.zero_shot(prepared, ["a", "b"]).logits, whole)


def test_classes_are_embedded_once_for_many_calls():
    net = Words()
    prompts = {"one": ["a", "b"], "two": ["c"]}
    once = net.classes(prompts, caption="{}")
    assert [tuple(one.shape) for one in once.embeddings] == [(2, 3), (1, 3)]
    net.tokenize = None  # no text is read again
    said = net.zero_shot(PICTURES, once, ensemble="max")
    assert torch.equal(said.logits, Words().zero_shot(PICTURES, prompts, ensemble="max").logits)
    assert said.labels == ("one", "two")
    with pytest.raises(RecipeError, match="belong to 'classes'"):
        net.zero_shot(PICTURES, once, caption="{}")


def test_what_cannot_be_asked_is_refused():
    net = Words()
    with pytest.raises(InputError, match="labels are a list"):
        net.zero_shot(PICTURES, "glaucoma")
    with pytest.raises(InputError, match="labels are a list"):
        net.zero_shot(PICTURES, [])
    with pytest.raises(InputError, match="named twice: a, b, a"):
        net.zero_shot(PICTURES, ["a", "b", "a"])
    with pytest.raises(InputError, match="'b' has no prompt"):
        net.zero_shot(PICTURES, {"a": ["a"], "b": []})
    with pytest.raises(InputError, match="no picture"):
        net.zero_shot([], ["a"])
    with pytest.raises(InputError, match="8-bit pictures"):
        net.zero_shot([np.zeros((3, 4, 4), np.float32)], ["a"])
    with pytest.raises(RecipeError, match="'mean', 'max' or 'direction'"):
        net.zero_shot(PICTURES, ["a"], ensemble="median")


def test_the_scale_is_cut_where_the_published_networks_cut_it():
    net = Words()
    net.logit_scale.data.fill_(4.9)
    assert net.eval().scale().item() == pytest.approx(np.exp(4.6052))
    assert net.logit_scale.item() == pytest.approx(4.9), "asking changes nothing"
    net.train().scale().backward()
    assert net.logit_scale.item() == pytest.approx(4.6052)
    assert net.logit_scale.grad.item() > 0, "it can leave the limit again"


@pytest.fixture(scope="module")
def golden():
    return Golden("flair")


def laid(golden, folder, *names, into="."):
    """FLAIR's checkpoint, and some files of its tokenizer in a folder beside it."""
    shutil.copy(golden.folder / "checkpoint.pth", folder)
    (folder / into).mkdir(exist_ok=True)
    for name in names:
        shutil.copy(golden.folder / "tokenizer_and_bert_config" / name, folder / into)
    return models.create("flair", checkpoint=folder / "checkpoint.pth", text_heads=4)


@pytest.mark.parametrize("into", [".", "tokenizer"])
@pytest.mark.parametrize(
    "names",
    [
        ("tokenizer.json", "tokenizer_config.json"),
        ("tokenizer.json",),
        ("vocab.txt",),
        ("vocab.txt", "config.json"),
    ],
    ids=" ".join,
)
def test_the_tokenizer_is_found_beside_the_checkpoint(golden, tmp_path, names, into):
    net = laid(golden, tmp_path, *names, into=into)
    classes = golden.card["config"]["classes"]
    ids, mask = net.tokenize([net.caption.replace("{}", one) for one in classes])
    assert torch.equal(ids, golden.inputs["input_ids"])
    assert torch.equal(mask, golden.inputs["attention_mask"])


def test_a_tokenizer_may_lie_in_the_folder_of_the_network(golden, tmp_path):
    shutil.copytree(golden.folder / "hub_layout", tmp_path / "hub")
    tokenizer = golden.folder / "tokenizer_and_bert_config"
    shutil.copy(tokenizer / "vocab.txt", tmp_path / "hub")
    said = (tokenizer / "tokenizer_config.json").read_text()
    (tmp_path / "hub" / "tokenizer_config.json").write_text(
        said.replace("TokenizersBackend", "None")
    )
    net = models.create("flair", checkpoint=tmp_path / "hub", text_heads=4)
    classes = golden.card["config"]["classes"]
    ids, _ = net.tokenize([net.caption.replace("{}", one) for one in classes])
    assert torch.equal(ids, golden.inputs["input_ids"])


def test_a_missing_tokenizer_is_named_with_its_place(golden, tmp_path):
    net = laid(golden, tmp_path)
    with pytest.raises(
        InputError, match=r"tokenizer\.json \(or vocab\.txt\) beside the check"
    ) as e:
        net.zero_shot(PICTURES[:1], ["a"])
    assert str(tmp_path) in str(e.value)
    net.tokenizer_folder = golden.folder / "tokenizer_and_bert_config"
    assert net.encode_text(["normal"]).shape == (1, 32)
    net.tokenizer_folder = tmp_path / "nowhere"
    with pytest.raises(InputError, match="nowhere"):
        net.encode_text(["normal"])


def test_a_damaged_tokenizer_is_said_to_be(golden, tmp_path):
    net = laid(golden, tmp_path, "tokenizer.json")
    text = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(text[: len(text) // 2])
    with pytest.raises(UnreadableError, match="damaged or incomplete"):
        net.encode_text(["normal"])


@pytest.mark.parametrize("names", [("tokenizer.json",), ("vocab.txt",)], ids=" ".join)
def test_a_kept_network_takes_its_tokenizer_along(golden, tmp_path, names):
    (tmp_path / "came").mkdir()
    net = laid(golden, tmp_path / "came", *names, into="tokenizer")
    kept = models.keep(net, tmp_path / "kept")
    shutil.rmtree(tmp_path / "came")
    again = models.create("flair", checkpoint=kept)
    classes = golden.card["config"]["classes"]
    torch.testing.assert_close(again.encode_text(classes), net_said(golden, classes))


def net_said(golden, classes):
    net = models.create("flair", checkpoint=golden.folder / "checkpoint.pth", text_heads=4)
    return net.encode_text(classes)


def test_long_texts_are_cut(golden, tmp_path):
    net = laid(golden, tmp_path, "tokenizer.json")
    ids, _ = net.tokenize(["macular hole " * 60])
    assert ids.shape == (1, 77)
    assert ids[0, -1] == 3, "the end is kept"
    with pytest.raises(InputError, match="one sentence or more"):
        net.encode_text([])
    with pytest.raises(InputError, match="one sentence or more"):
        net.encode_text("normal")


def test_knowledge_adds_what_a_label_looks_like(golden, tmp_path):
    net = laid(golden, tmp_path, "tokenizer.json")
    named = {name: described(name) for name in ("macular hole", "unheard-of disease")}
    said = net.zero_shot(PICTURES[:2], list(named), knowledge=True)
    assert torch.equal(said.logits, net.zero_shot(PICTURES[:2], named).logits)
    plain = net.zero_shot(PICTURES[:2], list(named)).logits
    assert (said.logits[:, 0] - plain[:, 0]).abs().min() > 1e-3
    torch.testing.assert_close(said.logits[:, 1], plain[:, 1], rtol=1e-4, atol=1e-4)


def test_descriptions_are_found_by_every_name():
    assert described("macular hole")[0] == "macular hole"
    assert looks_of("PDR") == looks_of("Proliferative  diabetic-retinopathy") != ()
    assert described("unheard-of disease") == ["unheard-of disease"]
    assert (
        described("PDR", ["new vessels on the optic disc"]).count("new vessels on the optic disc")
        == 1
    )
    assert len(known_labels()) >= 60
    assert all(looks_of(name) for name in known_labels())


def test_no_two_conditions_share_a_name():
    from osler.models.descriptions import _entries, _key

    names = [_key(name) for names, _ in _entries() for name in names]
    assert len(names) == len(set(names))
