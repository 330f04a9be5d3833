"""What enters can leave: every format is read back, by us or by the tool it is for."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from osler import models
from osler.errors import OutputError, UnreadableError, UnsupportedError
from osler.models.trying import example, tiny

NAME = "retfound-vit-large"


@pytest.fixture
def net():
    torch.manual_seed(5)
    return tiny(NAME)


def said(net):
    with torch.inference_mode():
        return net(**example(NAME))


@pytest.mark.parametrize("kind", ["huggingface", "safetensors"])
def test_a_kept_network_comes_back_as_it_was(net, kind, tmp_path):
    folder = models.keep(net, tmp_path / "kept", kind=kind)
    file = folder if kind == "huggingface" else folder / "model.safetensors"
    again = models.create(NAME, checkpoint=file)
    assert again.options == net.options
    assert torch.equal(said(again), said(net))
    assert again.report.share == 1
    assert [(n, layout) for n, layout in models.inspect(file).looks_like] == [
        (NAME, "kept by Osler")
    ]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_kept_network_may_be_built_for_another_size(net, tmp_path):
    folder = models.keep(net, tmp_path / "kept")
    again = models.create(NAME, checkpoint=folder, image_size=64)
    assert [name for name, _, _ in again.report.reshaped] == ["pos_embed"]


def test_a_monai_bundle_is_read_by_monai(net, tmp_path):
    from monai.bundle import ConfigParser

    folder = models.keep(net, tmp_path / "bundle", kind="monai")
    parser = ConfigParser()
    parser.read_config(folder / "configs/inference.json")
    parser["bundle_root"] = str(folder)
    again = parser.get_parsed_content("network_def")
    again.load_state_dict(torch.load(parser.get_parsed_content("checkpoint"), weights_only=True))
    assert torch.equal(said(again), said(net))
    metadata = json.loads((folder / "configs/metadata.json").read_text())
    assert {"version", "monai_version", "task", "network_data_format"} <= set(metadata)


def test_the_graph_says_what_the_network_says(net, tmp_path):
    folder = models.keep(net, tmp_path / "graph", kind="onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    inputs = example(NAME, batch=1, options=net.options)
    with torch.inference_mode():
        true = net(**inputs).numpy()
    assert np.allclose(session.run(None, {"x": inputs["x"].numpy()})[0], true, atol=1e-4)


def test_what_cannot_be_kept_is_refused(net, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="exists already"):
        models.keep(net, tmp_path / "there")
    with pytest.raises(UnsupportedError, match="there are: huggingface"):
        models.keep(net, tmp_path / "new", kind="keras")
    with pytest.raises(UnsupportedError, match=r"osler\.models\.create"):
        models.keep(torch.nn.Linear(2, 2), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_damaged_description_is_said(net, tmp_path):
    folder = models.keep(net, tmp_path / "kept")
    (folder / "config.json").write_text('{"osler_network": 3')
    with pytest.raises(UnreadableError, match="no JSON"):
        models.create(NAME, checkpoint=folder)
    (folder / "config.json").write_text('{"osler_network": "retfound-vit-large"}')
    with pytest.raises(UnreadableError, match="damaged"):
        models.inspect(folder)
