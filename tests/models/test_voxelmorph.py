"""Registration: warping against scipy, integration against the matrix exponential, folds."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.ndimage import map_coordinates

from osler import models
from osler.errors import RecipeError
from osler.models.voxelmorph import folded, integrate, jacobian, warp


def smooth(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.interpolate(
        torch.randn(*shape[:2], *(4,) * (len(shape) - 2), generator=generator),
        size=shape[2:],
        mode="bilinear" if len(shape) == 4 else "trilinear",
        align_corners=True,
    )


@pytest.mark.parametrize("sides", [(9, 12), (6, 8, 7)])
def test_warping_is_what_scipy_says(sides):
    picture, field = smooth(1, 2, *sides), 1.5 * smooth(1, len(sides), *sides, seed=1)
    places = np.stack(np.meshgrid(*map(np.arange, sides), indexing="ij")) + field[0].numpy()
    for channel in range(2):
        padded = np.pad(picture[0, channel].numpy(), 3)
        want = map_coordinates(padded, places + 3, order=1, mode="constant")
        np.testing.assert_allclose(warp(picture, field)[0, channel], want, atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_linear_velocity_is_integrated_to_its_exponential(dims):
    matrix = np.random.default_rng(0).normal(size=(dims, dims)) * 0.15
    side = 25
    middle = (side - 1) / 2
    places = np.stack(np.meshgrid(*[np.arange(side) - middle] * dims, indexing="ij"))
    velocity = np.einsum("ij,j...->i...", matrix, places)
    want = np.einsum("ij,j...->i...", expm(matrix) - np.eye(dims), places)
    said = integrate(torch.from_numpy(velocity[None]).float(), 10)[0].numpy()
    inner = (slice(None), *[slice(9, 16)] * dims)
    np.testing.assert_allclose(said[inner], want[inner], atol=0.02)
    np.testing.assert_allclose(
        jacobian(torch.from_numpy(want[None])).numpy(), np.linalg.det(expm(matrix)), rtol=1e-6
    )


def test_folds_are_counted():
    still = torch.zeros(2, 2, 5, 6)
    assert folded(still).tolist() == [0, 0]
    mirrored = still.clone()
    mirrored[1, 1] = -2 * torch.arange(6.0)  # columns in reverse
    assert folded(mirrored).tolist() == [0, 4 * 5]
    one = torch.zeros(1, 3, 5, 5, 5)
    one[0, 0, 2, 2, 2] = -1.5  # one voxel behind its neighbour
    assert folded(one).tolist() == [1]


def test_an_integrated_velocity_folds_less_than_the_velocity_itself():
    rough = 6 * smooth(1, 2, 16, 16, seed=3)
    rough = rough + 3 * torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    assert folded(integrate(rough, 7)) < folded(rough)


# MONAI warns that its compiled warp, which interpolates otherwise, is not there
@pytest.mark.filterwarnings("ignore:.*Using PyTorch native grid_sample")
@pytest.mark.parametrize(
    ("name", "sides"), [("voxelmorph-2d", (16, 24)), ("voxelmorph", (8, 16, 8))]
)
def test_monai_s_files(name, sides, tmp_path):
    from monai.networks.nets.voxelmorph import VoxelMorph, VoxelMorphUNet

    torch.manual_seed(0)
    backbone = VoxelMorphUNet(len(sides), 2, 9, (3, 4, 5, 6, 7, 8), (10, 11))
    theirs = VoxelMorph(backbone, integration_steps=5, spatial_dims=len(sides)).eval()
    torch.save(theirs.state_dict(), tmp_path / "net.pt")
    net = models.create(name, checkpoint=tmp_path / "net.pt", steps=5)
    moving, fixed = smooth(1, 1, *sides), smooth(1, 1, *sides, seed=1)
    with torch.inference_mode():
        warped, displacement = theirs(moving, fixed)
        said = net(moving, fixed)
    torch.testing.assert_close(said.displacement, displacement, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(said.warped, warped, rtol=1e-4, atol=1e-5)
    assert net.report.share == 1
    assert not net.report.unexpected
    assert not net.report.missing


@pytest.mark.parametrize("name", ["voxelmorph", "voxelmorph-2d"])
def test_half_the_resolution_keeps_lengths(name):
    """A velocity that is the same everywhere moves as far at half the resolution."""
    options = {**models.find(name).card.tiny, "steps": 6}
    net = models.create(name, weights="random", half=True, **options)
    sides = (16,) * net.dims
    wanted = torch.arange(1.0, net.dims + 1) / 4
    last = net.backbone.net[1].final_conv_out.conv
    torch.nn.init.zeros_(last.weight)
    last.bias.data.copy_(wanted)
    with torch.inference_mode():
        said = net(torch.rand(1, 1, *sides), torch.rand(1, 1, *sides))
    middle = said.displacement[0].reshape(net.dims, -1)[:, said.displacement[0, 0].numel() // 2 + 8]
    torch.testing.assert_close(middle, wanted, atol=1e-3, rtol=1e-3)


def test_it_learns_to_shift_a_disc():
    torch.manual_seed(0)
    net = models.create("voxelmorph-2d", weights="random", **models.find("voxelmorph-2d").card.tiny)
    hh, ww = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    moving = torch.exp(-((hh - 14) ** 2 + (ww - 16) ** 2) / 30)[None, None]
    fixed = torch.exp(-((hh - 17) ** 2 + (ww - 16) ** 2) / 30)[None, None]
    optimiser = torch.optim.Adam(net.train().parameters(), lr=1e-2)
    before = float((moving - fixed).square().mean())
    for _ in range(60):
        optimiser.zero_grad()
        loss = (net(moving, fixed).warped - fixed).square().mean()
        loss.backward()
        optimiser.step()
    with torch.inference_mode():
        said = net.eval()(moving, fixed)
    assert float((said.warped - fixed).square().mean()) < 0.3 * before
    # what is at row 17 now was at row 14
    assert float(said.displacement[0, 0, 17, 16]) == pytest.approx(-3, abs=1.5)


def test_sizes_it_cannot_take_are_refused():
    net = models.create("voxelmorph", weights="random")
    with pytest.raises(RecipeError, match="multiples of 8"):
        net(torch.zeros(1, 1, 8, 12, 8), torch.zeros(1, 1, 8, 12, 8))
