"""Networks of timm by their names, which are refused in a sentence where timm is not installed."""

from importlib.util import find_spec

import pytest

from osler import models
from osler.errors import MissingExtraError, RecipeError

absent = pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")


@absent
def test_what_to_install_is_said():
    with pytest.raises(MissingExtraError, match=r"build 'timm/convnext_tiny'.*osler\[timm\]"):
        models.create("timm/convnext_tiny", weights="random")


def test_a_member_has_the_card_of_the_family():
    card = models.find("timm/convnext_tiny").card
    assert card.name == "timm/convnext_tiny"
    assert not card.exportable
    assert models.find("timm/resnet50").fixed == (("architecture", "resnet50"),)


@pytest.mark.parametrize("name", ["timm", "timm/", "tim/resnet50"])
def test_other_names_are_not_taken(name):
    with pytest.raises(RecipeError, match="no network is called"):
        models.find(name)


def test_weights_are_named_too():
    with pytest.raises(RecipeError, match=r"checkpoint=FILE"):
        models.create("timm/resnet50")


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_a_file_of_timm_s_names(tmp_path):
    import timm
    import torch

    theirs = timm.create_model("resnet18", pretrained=False, num_classes=3).eval()
    torch.save(theirs.state_dict(), tmp_path / "net.pth")
    net = models.create("timm/resnet18", checkpoint=tmp_path / "net.pth", num_classes=3)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(net(x), theirs(x))


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit-base", {"num_classes": 3}),
        ("retfound-vit-large", {"num_classes": 3}),
        ("retfound-vit-large", {"num_classes": 0, "image_size": 64}),
        ("retfound-dinov2-vit-large", {"num_classes": 2}),
        ("retfound-green-vit-small", {}),
        ("resnet-18", None),
    ],
)
def test_a_folder_is_opened_by_timm(tmp_path, name, options):
    import timm
    import torch

    from osler.models.trying import tiny

    torch.manual_seed(0)
    if options is None:
        net = models.create(name, weights="random", num_classes=3).eval()
    else:
        net = tiny(name, **options)
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.1)
    models.keep(net, tmp_path / "net")
    theirs = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True).eval()
    side = net.options.get("image_size", 64)
    x = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        assert torch.allclose(net(x), theirs(x), rtol=1e-4, atol=1e-5)
