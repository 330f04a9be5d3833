"""LiteMedSAM reads checkpoints by their names, and its parts say what they are meant to say."""

import numpy as np
import pytest
import torch

from osler import models
from osler.models.litemedsam import WindowAttention
from osler.models.trying import tiny

NAME = "litemedsam"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return tiny(NAME)


def test_a_checkpoint_tells_its_sizes(net, tmp_path):
    stored = {f"module.{name}": value for name, value in net.state_dict().items()}
    stored["module.image_encoder.layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(9, 9)
    torch.save({"model": stored, "epoch": 3}, tmp_path / "lite.pth")
    again = models.create(NAME, checkpoint=tmp_path / "lite.pth", image_size=32, decoder_heads=2)
    assert again.report.layout == "LiteMedSAM"
    assert not again.report.missing
    assert not again.report.unexpected
    assert len(again.report.dropped) == 1
    x, boxes = torch.rand(1, 3, 32, 32), torch.tensor([[[3.0, 3, 20, 20]]])
    with torch.inference_mode():
        assert torch.equal(net(x, boxes)[0], again(x, boxes)[0])


def test_the_embedding_is_a_quarter_and_masks_are_whole(net):
    with torch.inference_mode():
        assert net.encode(torch.rand(1, 3, 32, 40)).shape == (1, 16, 8, 10)
        said = net.segment(np.full((3, 50, 90), 7, np.uint8), boxes=(5, 5, 60, 40))
    assert said.masks.shape == (1, 1, 50, 90)


def test_attention_counts_distances_along_both_sides():
    attend = WindowAttention(4, 2, 3)
    assert attend.distances[0].tolist() == list(range(9))
    assert attend.distances[4].tolist() == [4, 3, 4, 1, 0, 1, 4, 3, 4]
    assert torch.equal(attend.distances, attend.distances.T)


def test_a_wide_picture_is_shrunk_by_area_and_padded(net):
    picture = np.zeros((3, 64, 128), np.uint8)
    picture[:, :, 64:] = 200
    ready = net.preprocessing(picture)
    assert ready.shape == (3, 32, 32)
    assert net.preprocessing.placed((64, 128)) == (16, 32)
    assert ready[0, 0].tolist() == [0.0] * 16 + [1.0] * 16
    assert not ready[:, 16:].any()
