"""What goes wrong with files of weights ends in a sentence, and nothing in them is run."""

import gzip
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from osler import models
from osler.errors import UnreadableError, UnsupportedError, WeightsError
from osler.models.trying import tiny

NAME = "retfound-vit-large"


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(5)
    return {name: value.clone() for name, value in tiny(NAME).state_dict().items()}


def read(path):
    return models.create(NAME, checkpoint=path, num_heads=2)


class Harm:
    def __reduce__(self):
        return os.mkdir, ("HARMED",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_plain_pickle_is_refused_by_name(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"model": Harm()}, protocol=protocol))
    with pytest.raises(
        UnsupportedError, match=r"refused: .*(posix|nt)\.mkdir would have to be run"
    ):
        models.inspect(tmp_path / "a.pkl")
    assert not (tmp_path / "HARMED").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>Sign in", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (gzip.compress(b"weights", mtime=0), "gzip; unpack"),
        ((2**60).to_bytes(8, "little") + b'{"a":1}', "states 1152921504606846976 bytes"),
        (bytes(range(100, 200)), "neither a file of torch"),
    ],
)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, content, says):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(UnreadableError, match=says):
        models.inspect(tmp_path / "weights.pth")


def test_what_is_packed_or_cut_off(weights, tmp_path):
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with zipfile.ZipFile(tmp_path / "download.zip", "w") as archive:
        archive.write(tmp_path / "pytorch_model.bin", "medclip/pytorch_model.bin")
    with pytest.raises(UnreadableError, match=r"zip with 'medclip/pytorch_model.bin' in it"):
        models.inspect(tmp_path / "download.zip")
    save_file(weights, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    for size in (9, 500, len(whole) - 4):
        (tmp_path / "cut.safetensors").write_bytes(whole[:size])
        with pytest.raises(UnreadableError, match="damaged or cut off"):
            models.inspect(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda x: x.index_fill(0, torch.tensor([1]), float("nan")), r"qkv\.weight holds 24 numb"),
        (lambda x: x.to(torch.int8), "int8, no floating-point"),
        (lambda x: x.to(torch.complex64), "complex64, no floating-point"),
    ],
)
def test_numbers_that_cannot_be_weights(weights, tmp_path, spoil, says):
    name = "blocks.1.attn.qkv.weight"
    torch.save({"model": {**weights, name: spoil(weights[name])}}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=says):
        read(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_into_single(weights, tmp_path, kind):
    torch.save({name: value.to(kind) for name, value in weights.items()}, tmp_path / "a.pth")
    net = read(tmp_path / "a.pth")
    for name, value in net.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, weights[name].to(kind).float())


@pytest.mark.parametrize("start", ["model.", "backbone.", "module._orig_mod.net.", "a.b.c."])
def test_names_with_more_before_them(weights, tmp_path, start):
    torch.save({"state_dict": {start + k: v for k, v in weights.items()}}, tmp_path / "a.ckpt")
    assert read(tmp_path / "a.ckpt").report.share == 1
    if start != "backbone.":  # so VisionFM's names begin, too
        found = models.inspect(tmp_path / "a.ckpt").looks_like
        assert (NAME, "RETFound, fine-tuned") in found


def test_weights_wrapped_twice_or_under_a_name_of_their_own(weights, tmp_path):
    for wrapped in (
        {"model": {"state_dict": weights}, "epoch": 3},
        {"checkpoint": {"model": weights}, "optimizer": {"state": {}}},
        {"model_ema": weights, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
    ):
        torch.save(wrapped, tmp_path / "a.pth")
        assert read(tmp_path / "a.pth").report.share == 1
    torch.save({"first": weights, "second": weights}, tmp_path / "a.pth")
    with pytest.raises(UnreadableError, match=r"several groups of weights \(first, second\)"):
        read(tmp_path / "a.pth")
