"""Weights in TorchScript archives are read without the program, and nothing else is."""

import pickle
import zipfile

import pytest
import torch
from torch import nn

from osler import models
from osler.errors import UnreadableError, UnsupportedError
from osler.models.checkpoints.reading import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.last = nn.Linear(4, 2).half()
        self.register_buffer("steps", torch.arange(3))
        self.shared = self.first[0].weight

    def forward(self, x):
        return self.first(x).mean((2, 3))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def archive(net, tmp_path):
    with torch.inference_mode(False):
        traced = torch.jit.trace(net, torch.rand(1, 3, 8, 8))
        torch.jit.save(traced, str(tmp_path / "net.pt"))
    return tmp_path / "net.pt"


def test_every_tensor_is_read(net, archive):
    stored = read_checkpoint(archive)
    due = net.state_dict()
    assert set(stored.tensors) >= set(due) - {"shared"}
    for name, value in stored.tensors.items():
        assert torch.equal(value, due[name]), name
        assert value.dtype == due[name].dtype


def repacked(archive, out, change):
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            held = change(entry.filename, old.read(entry))
            if held is not None:
                new.writestr(entry.filename, held)
    return out


def test_the_program_is_not_needed_to_be_sound(net, archive, tmp_path):
    out = repacked(
        archive,
        tmp_path / "other.pt",
        lambda name, held: b"exit(1)" if name.endswith(".py") else held,
    )
    assert torch.equal(read_checkpoint(out).tensors["last.weight"], net.last.weight)


class Runs:
    def __reduce__(self):
        import os

        return os.mkdir, ("TORCHSCRIPT_EXECUTED",)


def test_anything_else_is_refused_by_name(archive, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bad = pickle.dumps(Runs(), protocol=2)
    out = repacked(
        archive, tmp_path / "bad.pt", lambda name, held: bad if name.endswith("/data.pkl") else held
    )
    with pytest.raises(UnsupportedError, match=r"refused: .*mkdir"):
        read_checkpoint(out)
    assert not (tmp_path / "TORCHSCRIPT_EXECUTED").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda name, held: held[: len(held) // 2] if name.endswith("/data.pkl") else held,
        lambda name, held: None if "/data/" in name else held,
        lambda name, held: held[:4] if "/data/" in name else held,
    ],
    ids=["half a pickle", "no numbers", "too few numbers"],
)
def test_damaged_archives_are_said_to_be(archive, tmp_path, change):
    with pytest.raises(UnreadableError, match="damaged"):
        read_checkpoint(repacked(archive, tmp_path / "bad.pt", change))


def test_a_truncated_archive_is_damaged(archive, tmp_path):
    held = archive.read_bytes()
    for part in (10, len(held) // 2, len(held) - 10):
        (tmp_path / "short.pt").write_bytes(held[:part])
        with pytest.raises(UnreadableError):
            read_checkpoint(tmp_path / "short.pt")


def test_a_tensor_larger_than_its_numbers_is_refused():
    from osler.models.checkpoints.torchscript import _tensor

    with pytest.raises(ValueError, match="more numbers than its storage"):
        _tensor(torch.zeros(4), 0, (10**12,), (0,))


def test_a_network_is_built_from_one(tmp_path):
    net = models.find("resnet-18")
    small = models.create("resnet-18", weights="random", **net.card.tiny)
    torch.jit.save(torch.jit.trace(small, torch.rand(1, 3, 64, 64)), str(tmp_path / "net.pt"))
    again = models.create("resnet-18", checkpoint=tmp_path / "net.pt", **net.card.tiny)
    assert again.report.share == 1
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again(x), small(x))
