"""The style of one image given to another, against slow oracles, and through recipes."""

import cmath
import math

import numpy as np
import pytest
import torch
from tuning_runs import goes_on_to_the_bit, trained

from osler.errors import RecipeError
from osler.learn.fitting import fit
from osler.learn.recipe import check_recipe, read_yaml
from osler.learn.strategies.adain import Adain
from osler.learn.strategies.fourier_style import FourierStyle
from osler.learn.strategies.histogram_matching import HistogramMatching
from osler.learn.strategies.strategy import Settings, Strategy
from osler.learn.strategies.styles import adain, fourier_style, match_histograms

WAYS = [FourierStyle, Adain, HistogramMatching]


def _spectrum(image):
    """The transform of Fourier, each frequency from its own sum."""
    height, width = image.shape
    return {
        (u, v): sum(
            image[h, w] * cmath.exp(-2j * math.pi * (u * h / height + v * w / width))
            for h in range(height) for w in range(width)
        )
        for u in range(height) for v in range(width)
    }  # fmt: skip


def _away(frequency, side):
    """Signed frequency from -side // 2 on."""
    return frequency - side if frequency >= (side + 1) // 2 else frequency


def _oracle(image, style, share):
    height, width = image.shape
    content, other = _spectrum(image), _spectrum(style)
    reach = int(share * min(height, width))
    for u, v in content:
        far = max(abs(_away(u, height)), abs(_away(v, width)))
        if far <= reach:
            content[u, v] = cmath.rect(abs(other[u, v]), cmath.phase(content[u, v]))
    return np.array([
        [sum(value * cmath.exp(2j * math.pi * (u * h / height + v * w / width))
             for (u, v), value in content.items()).real / (height * width)
         for w in range(width)] for h in range(height)
    ])  # fmt: skip


@pytest.mark.parametrize(("shape", "share"), [((7, 9), 0.0), ((7, 9), 0.2), ((8, 8), 0.26)])
def test_fourier_style_against_sums(shape, share):
    rng = np.random.default_rng(1)
    image, style = rng.random((2, *shape))
    out = fourier_style(*(torch.tensor(one)[None, None] for one in (image, style)), share)
    np.testing.assert_allclose(out[0, 0].numpy(), _oracle(image, style, share), atol=1e-5)


def test_fourier_style_does_not_mind_where_nought_lies():
    rng = np.random.default_rng(2)
    image, style = (torch.tensor(one)[None] for one in rng.random((2, 3, 12, 10)))
    plain = fourier_style(image, style, 0.1)
    assert torch.allclose(fourier_style(image - 0.9, style - 0.9, 0.1), plain - 0.9, atol=1e-5)
    assert torch.allclose(plain.mean((2, 3)), style.mean((2, 3)), atol=1e-5)
    assert torch.allclose(fourier_style(image, image, 0.3), image, atol=1e-5)
    volume = torch.rand(1, 2, 6, 5, 4)
    assert torch.allclose(fourier_style(volume, volume + 2, 0.0), volume + 2, atol=1e-5)


def test_adain_against_numpy():
    rng = np.random.default_rng(3)
    image, style = rng.normal(2, 3, (2, 2, 6, 5)), rng.normal(-1, 0.5, (2, 2, 4, 7))
    own = [0.25, 1.0]
    out = adain(torch.tensor(image), torch.tensor(style), torch.tensor(own)).numpy()
    for b in range(2):
        for c in range(2):
            mean, deviation = image[b, c].mean(), image[b, c].std()
            to_mean = own[b] * mean + (1 - own[b]) * style[b, c].mean()
            to_deviation = own[b] * deviation + (1 - own[b]) * style[b, c].std()
            wanted = (image[b, c] - mean) / deviation * to_deviation + to_mean
            np.testing.assert_allclose(out[b, c], wanted, rtol=1e-4)


def test_histograms_against_ranks():
    rng = np.random.default_rng(4)
    image, style = rng.random((5, 6)), rng.random((10, 3))
    out = match_histograms(*(torch.tensor(one)[None, None] for one in (image, style)))[0, 0].numpy()
    ranks = image.ravel().argsort().argsort().reshape(image.shape)
    np.testing.assert_allclose(out, np.sort(style.ravel())[ranks], rtol=1e-5)  # as many values
    steps = torch.tensor([[[[0.0, 0.0, 0.0, 1.0]]]])
    matched = match_histograms(steps, torch.tensor([[[[4.0, 5.0, 6.0, 7.0]]]]))
    assert matched.tolist() == [[[[5.0, 5.0, 5.0, 7.0]]]]


class Seen(Strategy):
    """Keeps the mean of the images that the network is shown."""

    Settings = Settings
    name, title, role, source = "seen", "Seen", "objective", "a test"

    def prepared(self, net, context):
        self.means = means = []
        Seen.last = means
        net.conv1.register_forward_pre_hook(
            lambda module, args: means.append(args[0].mean((1, 2, 3)).tolist())
            if module.training else None
        )  # fmt: skip
        return net


def test_images_take_the_style_of_another_site(recipe, classify, tmp_path):
    seen = []
    for changes in ({}, {"fourier-style": {"by": "site", "share": 0.0}}):
        trained(
            recipe(classify, strategies={"seen": {}, **changes}), tmp_path / str(len(seen)), Seen
        )
        seen.append(Seen.last[:1])
    for before, after in zip(*map(np.ravel, seen), strict=True):
        assert abs(before - after) > 0.03  # bright and dark lie 30 grey levels of 255 apart


def test_a_run_in_other_styles_goes_on_to_the_bit(recipe, classify, tmp_path):
    changes = {"fourier-style": {"vary": True}, "adain": {"of": "features"},
               "histogram-matching": {"chance": 0.5}}  # fmt: skip
    goes_on_to_the_bit(recipe, classify, Adain, tmp_path, strategies=changes, labels={"share": 0.5})


def test_styles_of_images_and_features_of_other_sites(recipe, segment, tmp_path):
    changes = {"adain": {"of": "features", "blocks": 1}, "fourier-style": {"by": "site"},
               "histogram-matching": {"by": "site"}}  # fmt: skip
    trained(recipe(segment, strategies=changes), tmp_path, *WAYS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategies": {"fourier-style": {}}}, "takes styles from cases without a label"),
        ({"strategies": {"fourier-style": {"share": 0.6}}}, "less than or equal to 0.5"),
        ({"strategies": {"adain": {"of": "features"}}, "learner": {"steps": 4, "batch": 1}},
         "learner.batch is 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(recipe, classify, change, said):
    path = recipe({**classify, "cohort": "nowhere.csv"}, **change)
    with pytest.raises(RecipeError, match=said):
        check_recipe(read_yaml(path), path, strategies=WAYS)


def test_sites_that_are_not_there_are_refused(recipe, classify, tmp_path):
    path = recipe(classify, strategies={"fourier-style": {"by": "camera"}})
    with pytest.raises(RecipeError, match="by names 'camera', and 8 of 8 cases"):
        fit(path, out=tmp_path / "run", strategies=WAYS)
    path = recipe(classify, strategies={"adain": {"of": "features", "blocks": 40}})
    with pytest.raises(RecipeError, match=r"adain\.blocks is 40"):
        fit(path, out=tmp_path / "run", strategies=WAYS)
