import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from osler.bundles import load
from osler.bundles.integrity import check_model, digest, is_pickle
from osler.errors import BundleError

Made = Callable[..., Path]
Model = Callable[..., onnx.ModelProto]


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def torch_zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Harmful()))
    return stream.getvalue()


def relist(folder: Path, name: str, content: bytes) -> None:
    """Write a file and make the card agree with it: an attacker who owns the whole bundle."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    card = json.loads((folder / "card.json").read_text())
    card["files"][name] = digest(content).model_dump()
    (folder / "card.json").write_text(json.dumps(card))


def test_a_good_bundle_loads(made: Made) -> None:
    assert load(made()).card.name == "tiny-vessels"


def test_a_changed_byte_is_refused(made: Made) -> None:
    folder = made()
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx: changed since bundle 'tiny-vessels'"):
        load(folder)


@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"x", lambda c: b""])
def test_a_changed_size_is_refused(made: Made, change: Callable[[bytes], bytes]) -> None:
    folder = made()
    path = folder / "model.onnx"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BundleError, match="changed since"):
        load(folder)


def test_a_missing_file_is_refused(made: Made) -> None:
    folder = made()
    (folder / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx: missing"):
        load(folder)


def test_a_folder_without_a_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"card\.json: missing; a bundle is a folder with"):
        load(tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_of_any_protocol_is_refused(made: Made, protocol: int) -> None:
    content = pickle.dumps(Harmful(), protocol=protocol)
    assert is_pickle(content)
    folder = made()
    relist(folder, "notes.txt", content)
    with pytest.raises(BundleError, match=r"notes\.txt: holds a pickle"):
        load(folder)


def test_a_torch_file_is_refused_under_every_name(made: Made) -> None:
    folder = made()
    relist(folder, "model.onnx", torch_zip())
    with pytest.raises(BundleError, match="holds a pickle or a zip archive"):
        load(folder)


@pytest.mark.parametrize("name", ["weights", "data/extra.bin", ".hidden"])
def test_an_unlisted_pickle_is_refused(made: Made, name: str) -> None:
    folder = made()
    (folder / "data").mkdir()
    (folder / name).write_bytes(torch_zip())
    with pytest.raises(BundleError, match="does not list; remove it"):
        load(folder)


def test_an_unlisted_file_named_like_a_pickle_is_refused(made: Made) -> None:
    folder = made()
    (folder / "weights.pt").write_bytes(b"anything")
    with pytest.raises(BundleError, match="does not list; remove it"):
        load(folder)


def test_an_unlisted_harmless_file_is_left_alone(made: Made) -> None:
    folder = made()
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    (folder / "README.md").write_text("cat\ndog\nand a sentence.")
    load(folder)


def test_a_file_of_another_kind_is_refused(made: Made) -> None:
    folder = made()
    relist(folder, "run.py", b"import os\n")
    with pytest.raises(BundleError, match=r"run\.py: files of this kind are not read"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("weights.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\x7f{}"),
        ("weights.safetensors", b"abc"),
        ("table.json", b"{"),
        ("notes.md", b"\xff\xfe\x00"),
    ],
)
def test_a_damaged_file_is_refused(made: Made, name: str, content: bytes) -> None:
    folder = made()
    relist(folder, name, content)
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        load(folder)


def test_safetensors_and_text_are_allowed(made: Made) -> None:
    folder = made()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    relist(folder, "w.safetensors", len(header).to_bytes(8, "little") + header + bytes(4))
    relist(folder, "notes/how.md", "größer".encode())
    load(folder)


@pytest.mark.parametrize("path", ["../outside.onnx", "/etc/hostname", "a/../../b.onnx"])
def test_a_path_outside_is_refused(made: Made, path: str) -> None:
    folder = made()
    card = json.loads((folder / "card.json").read_text())
    card["files"][path] = card["files"]["model.onnx"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"leaves the bundle|is absolute"):
        load(folder)


def test_a_link_outside_is_refused(made: Made, tmp_path: Path) -> None:
    folder = made()
    outside = tmp_path / "outside.onnx"
    (folder / "model.onnx").rename(outside)
    (folder / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match="lies outside the bundle"):
        load(folder)


def test_an_unlisted_link_outside_is_refused(made: Made, tmp_path: Path) -> None:
    folder = made()
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="links outside the bundle"):
        load(folder)


def test_a_loop_of_links_is_refused(made: Made) -> None:
    folder = made()
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("other.onnx")
    (folder / "other.onnx").symlink_to("model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: lies outside the bundle"):
        load(folder)


def test_an_endless_name_is_refused(made: Made) -> None:
    folder = made()
    card = json.loads((folder / "card.json").read_text())
    card["files"]["x" * 5000] = card["files"]["model.onnx"]
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match="xxx"):
        load(folder)


def test_a_link_inside_is_followed(made: Made) -> None:
    folder = made()
    (folder / "model.onnx").rename(folder / "real.onnx")
    (folder / "model.onnx").symlink_to("real.onnx")
    load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_does_not_wait(made: Made) -> None:
    folder = made()
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")
    with pytest.raises(BundleError, match="not a regular file"):
        load(folder)


def test_a_folder_in_place_of_a_file_is_refused(made: Made) -> None:
    folder = made()
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()
    with pytest.raises(BundleError, match=r"model\.onnx"):
        load(folder)


def test_a_model_of_more_than_two_gigabytes_is_refused(made: Made) -> None:
    folder = made()
    card = json.loads((folder / "card.json").read_text())
    card["files"]["model.onnx"]["bytes"] = 2 * 10**9 + 1
    (folder / "card.json").write_text(json.dumps(card))
    os.truncate(folder / "model.onnx", 2 * 10**9 + 1)  # sparse: nothing is written
    with pytest.raises(BundleError, match="the limit is 2000000000"):
        load(folder)


def test_a_file_longer_than_its_card_is_read_one_byte_too_far(made: Made) -> None:
    folder = made()
    os.truncate(folder / "model.onnx", 10**12)  # sparse: reading all of it would not end well
    with pytest.raises(BundleError, match="changed since"):
        load(folder)


def with_node(tiny: onnx.ModelProto, domain: str, operator: str) -> onnx.ModelProto:
    tiny.graph.node.append(helper.make_node(operator, ["scores"], ["more"], domain=domain))
    return tiny


@pytest.mark.parametrize(
    ("domain", "operator"),
    [("evil", "Run"), ("com.microsoft", "EPContext"), ("org.pytorch.aten", "ATen")],
)
def test_an_operator_outside_the_known_domains_is_refused(
    tiny_model: Model, domain: str, operator: str
) -> None:
    model = with_node(tiny_model(), domain, operator)
    with pytest.raises(BundleError, match=f"{domain}::{operator}"):
        check_model(model.SerializeToString(), "model.onnx")


def test_an_import_of_an_unknown_domain_is_refused(tiny_model: Model) -> None:
    model = tiny_model(opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)])
    with pytest.raises(BundleError, match="imports operators of the domain 'evil'"):
        check_model(model.SerializeToString(), "model.onnx")


def test_what_the_runtimes_own_quantiser_writes_is_allowed(
    tiny_model: Model, tmp_path: Path
) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, ready, small = (tmp_path / f"{n}.onnx" for n in ("plain", "ready", "small"))
    onnx.save(tiny_model(), plain)
    quant_pre_process(plain, ready, skip_symbolic_shape=True)
    assert len(onnx.load(ready).opset_import) > 1
    check_model(ready.read_bytes(), "ready.onnx")
    quantize_dynamic(ready, small, weight_type=QuantType.QUInt8)
    check_model(small.read_bytes(), "small.onnx")


def test_quantised_operators_are_allowed(tiny_model: Model) -> None:
    model = with_node(tiny_model(), "com.microsoft", "QLinearAdd")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    check_model(model.SerializeToString(), "model.onnx")


def with_function(tiny: onnx.ModelProto, domain: str, name: str) -> onnx.ModelProto:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    opset = helper.make_opsetid("", 17)
    tiny.functions.append(helper.make_function(domain, name, ["x"], ["y"], body, [opset]))
    tiny.opset_import.append(helper.make_opsetid(domain, 1))
    return with_node(tiny, domain, name)


def test_a_function_of_the_models_own_is_allowed(tiny_model: Model) -> None:
    check_model(with_function(tiny_model(), "mine", "F").SerializeToString(), "model.onnx")


def test_a_function_cannot_lend_its_name_to_the_runtime(tiny_model: Model) -> None:
    model = with_function(tiny_model(), "com.microsoft", "EPContext")
    with pytest.raises(BundleError, match="EPContext"):
        check_model(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("place", ["../../secret", "/etc/passwd", "beside.bin"])
def test_weights_in_another_file_are_refused(tiny_model: Model, place: str) -> None:
    model = tiny_model()
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "far")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    model.graph.initializer.append(tensor)
    with pytest.raises(BundleError, match=f"outside itself \\('{place}'\\)"):
        check_model(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x08\x09", b"\x18\x00\x00\x00ORTM" + b"\0" * 9]
)
def test_what_is_no_onnx_model_is_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx"):
        check_model(content, "model.onnx")


def test_the_runtimes_own_format_is_refused_even_as_valid_protobuf(tiny_model: Model) -> None:
    # field 2 (producer_name) at offset 2 puts the runtime's mark at offset 4
    rest = tiny_model()
    rest.ClearField("producer_name")
    content = b"\x08\x09\x12\x04ORTM" + rest.SerializeToString()
    assert onnx.load_from_string(content).graph.node
    with pytest.raises(BundleError, match="own format"):
        check_model(content, "model.onnx")


@given(st.binary(max_size=100))
def test_sniffing_never_fails(content: bytes) -> None:
    is_pickle(content)


@given(st.text(max_size=100))
def test_json_is_no_pickle(text: str) -> None:
    assert not is_pickle(json.dumps({"text": text}).encode())
