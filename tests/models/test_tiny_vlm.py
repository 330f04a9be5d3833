"""The small network that writes: what each place sees, and what is copied."""

import pytest
import torch

from osler.errors import RecipeError
from osler.models import create
from osler.models.tiny_vlm import TinyVLM

SMALL = {
    "vocabulary": 30, "written": 6, "prompt": 8, "embed_dim": 16, "depth": 2, "num_heads": 2,
    "backbone": "resnet-18",
    "backbone_options": {"layers": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "stem": 8},
}  # fmt: skip


@pytest.fixture
def net():
    torch.manual_seed(0)
    return TinyVLM(**SMALL).eval()


def numbers(*values, places):
    return torch.tensor([[*values, *[0] * (places - len(values))]], dtype=torch.float32)


@torch.no_grad()
def test_no_place_sees_what_comes_after_it(net):
    picture, prompt = torch.rand(1, 3, 64, 64), numbers(5, 6, 7, places=8)
    one = net(picture, prompt, numbers(1, 8, 9, 10, places=6))
    other = net(picture, prompt, numbers(1, 8, 20, 21, 22, places=6))
    assert torch.equal(one[..., :2], other[..., :2])
    assert not torch.allclose(one[..., 2], other[..., 2])


@torch.no_grad()
def test_padding_of_the_prompt_is_not_seen(net):
    picture, text = torch.rand(1, 3, 64, 64), numbers(1, 8, 9, places=6)
    one = net(picture, numbers(5, 6, 7, places=8), text)
    net.asked[:, 3:] += torch.randn(5, 16)  # where the padding stands
    again = net(picture, numbers(5, 6, 7, places=8), text)
    assert torch.allclose(one, again, atol=1e-5)
    net.asked[:, 2] += torch.randn(16)
    assert not torch.allclose(one, net(picture, numbers(5, 6, 7, places=8), text))


@torch.no_grad()
def test_the_prompt_and_the_picture_matter(net):
    picture, prompt = torch.rand(1, 3, 64, 64), numbers(5, 6, 7, places=8)
    text = numbers(1, 8, 9, places=6)
    one = net(picture, prompt, text)
    assert not torch.allclose(one, net(1 - picture, prompt, text))
    assert not torch.allclose(one, net(picture, numbers(5, 6, 9, places=8), text))


@torch.no_grad()
def test_scores_with_a_pointer_are_log_probabilities_and_copies_stand_out(net):
    prompt, text = numbers(25, 26, 27, places=8), numbers(1, 8, places=6)
    net.pointer.gate.bias.fill_(4.0)  # copies nearly everything
    scores = net(torch.rand(1, 3, 64, 64), prompt, text)
    share = scores.exp()
    assert share.sum(dim=1).allclose(torch.ones(1, 6), atol=1e-3)
    assert (share[0, 25:28].sum(dim=0) > 0.9).all()


@torch.no_grad()
@pytest.mark.parametrize(("image", "prompt"), [(True, 0), (False, 8), (True, 8)])
def test_either_may_be_absent(image, prompt):
    net = TinyVLM(**{**SMALL, "image": image, "prompt": prompt}).eval()
    given = [
        *([torch.rand(2, 3, 64, 64)] if image else []),
        *([torch.full((2, 8), 5.0)] if prompt else []),
        torch.ones(2, 6),
    ]
    assert net(*given).shape == (2, 30, 6)
    with pytest.raises(ValueError, match="zip"):
        net(*given[1:])


@torch.no_grad()
@pytest.mark.parametrize(("image", "prompt"), [(True, 0), (False, 8), (True, 8)])
def test_asked_on_it_says_what_it_says_of_the_whole(image, prompt):
    torch.manual_seed(0)
    net = TinyVLM(**{**SMALL, "image": image, "prompt": prompt}).eval()
    prefix = [
        *([torch.rand(1, 3, 64, 64)] if image else []),
        *([numbers(5, 6, 7, places=8)] if prompt else []),
    ]
    ask = net.continued(*prefix)
    for text, start, stop in (
        ((1, 8), 0, 2), ((1, 8, 9, 10), 2, 4), ((1, 8, 9, 10, 11, 12), 3, 6),
        ((1, 7, 9, 10), 1, 3), ((1, 7, 9, 10), 3, 6), ((1, 7), 0, 6), ((2, 7), 5, 6),
    ):  # fmt: skip
        written = numbers(*text, places=6)
        whole = net(*prefix, written)[..., start:stop]
        assert torch.allclose(ask(written, start, stop), whole, atol=1e-5)


def test_it_is_in_the_list():
    assert isinstance(create("tiny-vlm", weights="random", **SMALL), TinyVLM)
    with pytest.raises((RecipeError, TypeError)):
        create("tiny-vlm", weights="random", width=3)
