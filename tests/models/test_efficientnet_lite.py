"""EfficientNet-Lite: TensorFlow's padding, the published names, and a pair whose encoder rests."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from osler import models
from osler.models.efficientnet_lite import EfficientNetLite, Same
from osler.models.trying import tiny


@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 3, 2), (9, 5, 2), (6, 5, 1)])
def test_padding_is_as_tensorflow_has_it(size, kernel, stride):
    """More at the end than at the start, and a result of the size over the stride, rounded up."""
    conv = Same(2, 3, kernel, stride, bias=False)
    x = torch.randn(1, 2, size, size + 1)
    said = conv(x)
    assert said.shape[2:] == (-(-size // stride), -(-(size + 1) // stride))
    margins = []
    for side in (size + 1, size):
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        margins += [total // 2, total - total // 2]
    due = functional.conv2d(functional.pad(x, margins), conv.weight, stride=stride)
    torch.testing.assert_close(said, due)


def test_published_names_are_read(tmp_path):
    net = tiny("efficientnet-lite0")
    published = {}
    for name, value in net.state_dict().items():
        parts = (f"fc.{name[5:]}" if name.startswith("head.") else name).split(".")
        marked = [part if part.isdigit() else f"_{part}" for part in parts[:-1]]
        published[".".join([*marked, parts[-1]])] = value
    assert "_blocks.1._expand_conv.weight" in published
    torch.save(published, tmp_path / "lite.pth")
    options = models.find("efficientnet-lite0").card.tiny
    again = models.create("efficientnet-lite0", checkpoint=tmp_path / "lite.pth", **options)
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(x), again(x))


def test_the_published_network_has_its_size():
    net = EfficientNetLite(num_classes=1000)
    assert sum(one.numel() for one in net.parameters()) == 4_652_008


def test_what_rests_is_looked_at_once():
    net = models.create(
        "image-text", weights="random", vision_rests=True, image_size=32, proj_dim=4, text_dim=8,
        text_heads=2, vision_options={"layers": [1, 1], "widths": [8, 8], "stem": 8},
        vocabulary=["a"],
    ).train()  # fmt: skip
    before = {name: one.clone() for name, one in net.vision.state_dict().items()}
    x = torch.rand(3, 3, 32, 32)
    asked = []
    handle = net.vision.conv1.register_forward_hook(lambda *_: asked.append(1))
    first, again = net.features(x), net.features(x[[2, 0]])
    assert len(asked) == 1
    assert torch.equal(again, first[[2, 0]])
    net.features(x + 0.1)
    assert len(asked) == 2
    handle.remove()
    net.embed_image(x).sum().backward()
    assert net.vision_projection.weight.grad is not None
    assert all(one.grad is None for one in net.vision.parameters())
    assert all(torch.equal(before[name], one) for name, one in net.vision.state_dict().items())
    np.testing.assert_allclose(net.eval().features(x), first, atol=1e-6)


def test_weights_of_a_package_are_found_by_its_name(tmp_path, monkeypatch):
    from osler.errors import RecipeError
    from osler.models.bert_folder import carried_weights

    place = tmp_path / "looks_of_nothing" / "models"
    place.mkdir(parents=True)
    (tmp_path / "looks_of_nothing" / "__init__.py").write_text("raise SystemExit('imported')")
    (place / "a.pth").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert carried_weights("looks-of-nothing") == place / "a.pth"
    with pytest.raises(RecipeError, match="neither a file of weights"):
        carried_weights("no-such-package-here")
