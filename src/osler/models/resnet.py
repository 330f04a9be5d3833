"""Residual networks, with or without squeeze and excitation, with the names of torchvision.

torchvision is not needed; its weights fit, and so do timm's, whose squeeze and excitation
(``se.fc1``, ``se.fc2``) is meant here.

Sources: He et al. 2016, "Deep residual learning for image recognition", CVPR; Hu et al. 2018,
"Squeeze-and-excitation networks", CVPR; Xie et al. 2017, "Aggregated residual transformations
for deep neural networks", CVPR.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.errors import RecipeError
from osler.models.checkpoints.layout import Layout, Shapes
from osler.models.checkpoints.shapes import commonest, count, known

Kind = Literal["basic", "bottleneck"]
_EXPANSION = {"basic": 1, "bottleneck": 4}


class SqueezeExcite(nn.Module):
    """Weigh each channel by what all of them hold in the mean.

    Args:
        channels: of the map.
        reduced: width between the two layers.
    """

    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, reduced, 1)
        self.fc2 = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same."""
        seen = functional.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(seen))


class Residual(nn.Module):
    """A shortcut beside two (``basic``) or three (``bottleneck``) convolutions.

    Args:
        kind: which of the two.
        inputs: channels that come.
        planes: width of the stage; a bottleneck gives four times as many channels.
        stride: of the 3 x 3 convolution.
        groups: of the 3 x 3 convolution of a bottleneck.
        group_width: channels a group when ``planes`` is 64.
        squeeze: channels over width of squeeze and excitation; None has none.
        early: the stride is that of the first convolution of a bottleneck instead.
    """

    def __init__(
        self,
        kind: Kind,
        inputs: int,
        planes: int,
        *,
        stride: int = 1,
        groups: int = 1,
        group_width: int = 64,
        squeeze: int | None = None,
        early: bool = False,
    ) -> None:
        super().__init__()
        outputs = planes * _EXPANSION[kind]
        if kind == "basic":
            self.conv1 = _conv(inputs, planes, 3, stride=stride)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = _conv(planes, planes, 3)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv3, self.bn3 = None, None
        else:
            width = planes * group_width // 64 * groups
            self.conv1 = _conv(inputs, width, 1, stride=stride if early else 1)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = _conv(width, width, 3, stride=1 if early else stride, groups=groups)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = _conv(width, outputs, 1)
            self.bn3 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcite(outputs, _reduced(outputs, squeeze)) if squeeze else None
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _conv(inputs, outputs, 1, stride=stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W)`` to ``(B, outputs, H / stride, W / stride)``."""
        beside = x if self.downsample is None else self.downsample(x)
        x = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            x = self.bn3(self.conv3(functional.relu(x)))
        if self.se is not None:
            x = self.se(x)
        return functional.relu(x + beside)


class ResNet(nn.Module):
    """Residual network of four stages, or of as many as ``layers`` names.

    Args:
        block: ``basic`` (ResNet-18 and 34) or ``bottleneck`` (50 and deeper).
        layers: blocks a stage.
        widths: width a stage; a bottleneck gives four times as many channels.
        stem: channels after the first convolution.
        channels: of the picture.
        num_classes: scores; 0 gives features.
        groups: of the 3 x 3 convolutions, as ResNeXt has them.
        group_width: channels a group in the first stage.
        squeeze: channels over width of squeeze and excitation, 16 in SE-ResNet; None has none.
        image_size: that the weights were made for, pixels; any other is taken too.
        caffe: as weights that came from Caffe want it (Cadene's ``pretrainedmodels``, timm's
            "legacy"): ``pool`` rounds the first reduction up instead of padding it; ``stride`` also
            reduces with the first convolution of a bottleneck instead of the second.
    """

    def __init__(
        self,
        *,
        block: Kind = "bottleneck",
        layers: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        stem: int = 64,
        channels: int = 3,
        num_classes: int = 0,
        groups: int = 1,
        group_width: int = 64,
        squeeze: int | None = None,
        image_size: int = 224,
        caffe: Literal["pool", "stride"] | None = None,
    ) -> None:
        super().__init__()
        if caffe not in (None, "pool", "stride"):
            raise RecipeError(f"caffe is 'pool' or 'stride', not '{caffe}'")
        if block not in _EXPANSION:
            raise RecipeError(f"block is one of {', '.join(_EXPANSION)}, not '{block}'")
        if len(layers) != len(widths):
            raise RecipeError(f"{len(layers)} stages have layers and {len(widths)} have widths")
        self.image_size, self.caffe = image_size, caffe
        self.conv1 = _conv(channels, stem, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages = len(layers)
        inputs = stem
        for number, (depth, planes) in enumerate(zip(layers, widths, strict=True), start=1):
            blocks = []
            for place in range(depth):
                blocks.append(
                    Residual(
                        block,
                        inputs,
                        planes,
                        stride=2 if number > 1 and place == 0 else 1,
                        groups=groups,
                        group_width=group_width,
                        squeeze=squeeze,
                        early=caffe == "stride",
                    )
                )
                inputs = planes * _EXPANSION[block]
            # torchvision's names of stages
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.embed_dim = inputs
        self.fc = nn.Linear(inputs, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """``(B, C, H, W)`` to the map after each stage, at 1/4, 1/8, 1/16 and 1/32."""
        x = functional.relu(self.bn1(self.conv1(x)))
        if self.caffe:
            x = functional.max_pool2d(x, 3, stride=2, ceil_mode=True)
        else:
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        levels = []
        for number in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{number}")(x)
            levels.append(x)
        return levels

    def features(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, embed_dim)``."""
        return self.pyramid(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to scores ``(B, num_classes)``, or to features."""
        return self.fc(self.features(x))


def _conv(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False
    )


def _reduced(channels: int, squeeze: int) -> int:
    """Width of squeeze and excitation, a multiple of 8, as timm's weights have it."""
    return max(8, int(channels / squeeze + 4) // 8 * 8)


def resnet_options(shapes: Shapes) -> dict[str, Any]:
    """What the shapes of a residual network's tensors (in torchvision's names) tell."""
    stages = count(shapes, r"^layer(\d+)\.\d+\.conv1\.weight")
    if not stages:
        return {}
    last = stages - 1
    deep = commonest(shapes, r"^layer\d+\.\d+\.bn3\.weight", 0) is not None
    times = _EXPANSION["bottleneck" if deep else "basic"]
    given = [
        commonest(shapes, rf"^layer{n}\.\d+\.(bn{3 if deep else 2}|downsample\.1)\.", 0)
        for n in range(1, stages)
    ]
    out: dict[str, Any] = known(
        stem=commonest(shapes, r"^bn1\.", 0),
        channels=commonest(shapes, r"^conv1\.weight", 1),
        num_classes=commonest(shapes, r"^fc\.", 0),
    )
    out |= {
        "block": "bottleneck" if deep else "basic",
        "layers": [count(shapes, rf"^layer{n}\.(\d+)\.") or 1 for n in range(1, stages)],
        "widths": [(one or times) // times for one in given],
    }
    grouped = commonest(shapes, r"^layer1\.\d+\.conv2\.weight", 1)
    inner = commonest(shapes, r"^layer1\.\d+\.bn2\.", 0)
    if deep and grouped and inner:
        out["groups"] = inner // grouped
        out["group_width"] = grouped * 64 // out["widths"][0]
    # the last stage's, since narrow stages are not reduced below 8 channels
    squeezed = commonest(shapes, rf"^layer{last}\.\d+\.se\.fc1\.weight", 0)
    wide = commonest(shapes, rf"^layer{last}\.\d+\.se\.fc1\.weight", 1)
    out["squeeze"] = round(wide / squeezed) if squeezed and wide else None
    return out


def _caffe_options(shapes: Shapes) -> dict[str, Any]:
    """As above, of weights from Caffe; those in groups (SE-ResNeXt) reduce where torch's do."""
    out = resnet_options(shapes)
    return {**out, "caffe": "pool" if out.get("groups", 1) > 1 else "stride"}


def resnet(**options: Any) -> ResNet:
    """A residual network; options of ``ResNet``."""
    return ResNet(**options)


def se_resnet(**options: Any) -> ResNet:
    """A residual network with squeeze and excitation; options of ``ResNet``."""
    return ResNet(**{"squeeze": 16, **options})


LAYOUTS = (
    Layout(
        "torchvision or timm",
        ("resnet-18", "resnet-50"),
        marks=(r"^conv1\.weight$", r"^layer1\.0\.conv2\.weight$"),
        without=(r"^layer1\.0\.se\.",),
        heads=(r"^fc\.",),
        options=resnet_options,
    ),
    Layout(
        "timm, squeeze and excitation",
        ("se-resnet-50",),
        marks=(r"^conv1\.weight$", r"^layer1\.0\.se\.fc1\.weight$"),
        heads=(r"^fc\.",),
        options=resnet_options,
    ),
    Layout(
        "Cadene (pretrainedmodels), timm legacy",
        ("se-resnet-50",),
        marks=(r"^layer0\.conv1\.weight$", r"^layer1\.0\.se_module\.fc1\.weight$"),
        without=(r"^layer0\.conv2\.weight$",),
        rename=(
            (r"^layer0\.", ""),
            (r"\.se_module\.", ".se."),
            (r"^last_linear\.", "fc."),
        ),
        heads=(r"^fc\.",),
        options=_caffe_options,
    ),
)
