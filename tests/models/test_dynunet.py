"""DynUNet reads MONAI's files and nnU-Net's, and says what their weights say."""

import pytest
import torch
from torch.nn import functional

from osler import models
from osler.errors import WeightsError


@pytest.mark.parametrize(("residual", "deep"), [(False, True), (True, False)])
def test_monai_s_files(residual, deep, tmp_path):
    from monai.networks.nets.dynunet import DynUNet

    torch.manual_seed(0)
    theirs = DynUNet(
        spatial_dims=3,
        in_channels=2,
        out_channels=3,
        kernel_size=[[1, 3, 3], 3, 3, 3],
        strides=[1, [1, 2, 2], 2, 2],
        upsample_kernel_size=[[1, 2, 2], 2, 2],
        filters=[4, 6, 8, 10],
        deep_supervision=deep,
        deep_supr_num=2,
        res_block=residual,
    ).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "net.pt")
    net = models.create("dynunet", checkpoint=tmp_path / "net.pt")
    x = torch.randn(1, 2, 8, 16, 24)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), theirs(x))
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing
    assert all(name.startswith("skip_layers.") for name in net.report.dropped)


CHANNELS, WIDTHS, LABELS = 2, [4, 6, 8], 3
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 2, 2)]
KERNELS = [(1, 3, 3), (3, 3, 3), (3, 3, 3)]  # of a size down and up, which MONAI has otherwise


def nnunet(seed=0):
    """A file of nnU-Net 2's ``PlainConvUNet``, with all the names its tensors have there."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.randn(shape, generator=generator) * 0.4

    out = {}

    def convs(name, channels, width, level):
        for number, inner in enumerate((channels, width)):
            out[f"{name}.convs.{number}.conv.weight"] = some(width, inner, *KERNELS[level])
            for part in ("conv.bias", "norm.weight", "norm.bias"):
                out[f"{name}.convs.{number}.{part}"] = some(width)

    inner = CHANNELS
    for stage, width in enumerate(WIDTHS):
        convs(f"encoder.stages.{stage}.0", inner, width, stage)
        inner = width
    for number, level in enumerate((1, 0)):
        stride = STRIDES[level + 1]
        out[f"decoder.transpconvs.{number}.weight"] = some(
            WIDTHS[level + 1], WIDTHS[level], *stride
        )
        out[f"decoder.transpconvs.{number}.bias"] = some(WIDTHS[level])
        convs(f"decoder.stages.{number}", 2 * WIDTHS[level], WIDTHS[level], level)
        out[f"decoder.seg_layers.{number}.weight"] = some(LABELS, WIDTHS[level], 1, 1, 1)
        out[f"decoder.seg_layers.{number}.bias"] = some(LABELS)
    for name in list(out):
        twin = name.replace(".conv.w", ".all_modules.0.w").replace(".norm.", ".all_modules.1.")
        out[twin] = out[name]
        if name.startswith("encoder."):
            out[f"decoder.{name}"] = out[name]
    return out


def slowly(weights, x):
    def twice(name, x, stride=(1, 1, 1)):
        for number in (0, 1):
            one = f"{name}.convs.{number}"
            kernel, bias = weights[f"{one}.conv.weight"], weights[f"{one}.conv.bias"]
            around = [side // 2 for side in kernel.shape[2:]]
            x = functional.conv3d(x, kernel, bias, stride if number == 0 else 1, around)
            gain, shift = weights[f"{one}.norm.weight"], weights[f"{one}.norm.bias"]
            x = functional.leaky_relu(functional.instance_norm(x, weight=gain, bias=shift))
        return x

    skips = []
    for stage, stride in enumerate(STRIDES):
        x = twice(f"encoder.stages.{stage}.0", x, stride)
        skips.append(x)
    scores = []
    for number, level in enumerate((1, 0)):
        kernel = weights[f"decoder.transpconvs.{number}.weight"]
        bias = weights[f"decoder.transpconvs.{number}.bias"]
        x = functional.conv_transpose3d(x, kernel, bias, STRIDES[level + 1])
        x = twice(f"decoder.stages.{number}", torch.cat([x, skips[level]], 1))
        head = [weights[f"decoder.seg_layers.{number}.{part}"] for part in ("weight", "bias")]
        scores.append(functional.conv3d(x, *head))
    return scores[::-1]


def test_nnunet_s_own_checkpoints(tmp_path):
    weights = nnunet()
    stored = {
        "network_weights": weights,
        "current_epoch": 1000,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "inference_allowed_mirroring_axes": (0, 1, 2),
        "grad_scaler_state": {"scale": 65536.0},
    }
    torch.save(stored, tmp_path / "checkpoint_final.pth")
    net = models.create("dynunet", checkpoint=tmp_path / "checkpoint_final.pth")
    x = torch.randn(2, CHANNELS, 4, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), slowly(weights, x)[0], rtol=1e-4, atol=1e-4)
        for ours, want in zip(net.train()(x), slowly(weights, x), strict=True):
            torch.testing.assert_close(ours, want, rtol=1e-4, atol=1e-4)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def first_names(weights):
    """The same tensors under the names of nnU-Net 1, whose scores have no bias."""
    out = {}
    last = len(WIDTHS) - 1
    for name, value in weights.items():
        if "all_modules" in name or name.startswith("decoder.encoder."):
            continue
        kind, what, number, *rest = name.split(".")
        if kind == "encoder":
            _, _, place, *part = rest
            inner = f"{place}.blocks.0" if int(number) == last else f"blocks.{place}"
            ours = f"conv_blocks_context.{number}.{inner}.{'.'.join(part)}"
        elif what == "stages":
            _, place, *part = rest
            ours = f"conv_blocks_localization.{number}.{place}.blocks.0.{'.'.join(part)}"
        elif rest == ["bias"]:
            continue
        else:
            ours = f"{'tu' if what == 'transpconvs' else 'seg_outputs'}.{number}.weight"
        out[ours.replace(".norm.", ".instnorm.")] = value
    return out


def test_checkpoints_of_the_first_nnunet(tmp_path):
    weights = nnunet()
    for name, value in weights.items():
        if name.endswith(".bias") and ("transpconvs" in name or "seg_layers" in name):
            value.zero_()
    stored = {"epoch": 1000, "state_dict": first_names(weights), "lr_scheduler_state_dict": None,
              "plot_stuff": ([1.0], [0.5], [], [0.8]), "best_stuff": (0.1, 0.9, None)}  # fmt: skip
    torch.save(stored, tmp_path / "model_final_checkpoint.model")
    net = models.create("dynunet", checkpoint=tmp_path / "model_final_checkpoint.model")
    x = torch.randn(1, CHANNELS, 4, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), slowly(weights, x)[0], rtol=1e-4, atol=1e-4)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


def test_residual_encoders_of_nnunet_are_refused(tmp_path):
    weights = {"encoder.stem.convs.0.conv.weight": torch.zeros(4, 1, 3, 3, 3)}
    weights["encoder.stages.0.blocks.0.conv1.conv.weight"] = torch.zeros(4, 4, 3, 3, 3)
    torch.save({"network_weights": weights}, tmp_path / "resenc.pth")
    with pytest.raises(WeightsError, match="not in a layout of 'dynunet'"):
        models.create("dynunet", checkpoint=tmp_path / "resenc.pth")


def test_a_picture_s_network_has_two_dimensions():
    net = models.create("dynunet-2d", weights="random", widths=[4, 6, 8], strides=[2, [2, 1]])
    assert net(torch.randn(1, 1, 16, 8)).shape == (1, 2, 16, 8)
    assert [tuple(m.shape[2:]) for m in net.pyramid(torch.randn(1, 1, 16, 8))] == [
        (16, 8), (8, 4), (4, 4)
    ]  # fmt: skip
