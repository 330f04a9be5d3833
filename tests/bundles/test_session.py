import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from osler.bundles import load, save
from osler.errors import BundleError, InputError

Made = Callable[..., Path]


def image(side: int = 8, value: float = 0.5, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.full((1, channels, side, side), value, np.float32)


def test_a_run_gives_the_scores(made: Made) -> None:
    out = load(made()).run({"image": image()})
    assert list(out) == ["scores"]
    assert out["scores"].dtype == np.float32
    np.testing.assert_allclose(out["scores"], np.full((1, 1, 8, 8), 1.0), rtol=1e-6)


def test_a_strided_array_is_taken(made: Made) -> None:
    wide = (
        np.random.default_rng(0).random((1, 8, 16, 3), np.float32)[:, :, ::2].transpose(0, 3, 1, 2)
    )
    out = load(made()).run({"image": wide})["scores"]
    np.testing.assert_allclose(out[:, 0], 2 * wide.mean(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'image' is missing; it takes 'image'"),
        ({"image": image(), "other": image()}, "input 'other' is unknown"),
        ({"image": image().astype(np.float64)}, r"is float64; give it as .astype\(np.float32\)"),
        ({"image": [[0.5]]}, "is a list; give a numpy array"),
        ({"image": image()[0]}, r"expected \(N, C, H, W\)"),
        ({"image": image()[:0]}, "none of them 0"),
        ({"image": image(channels=4)}, "4 channels .* expected 3: red, green, blue"),
        ({"image": image(side=9)}, "divisible by 4: pad it to 12 × 12"),
        ({"image": image(value=np.nan)}, "NaN"),
        ({"image": image(value=np.inf)}, "infinite"),
        ({"image": image(value=200)}, "values from 200 to 200; expected 0 to 1"),
    ],
)
def test_a_wrong_input_says_what_is_right(made: Made, inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(made()).run(inputs)


def test_a_fixed_size_is_checked(made: Made) -> None:
    channels = ["red", "green", "blue"]
    bundle = load(made(inputs=[{"name": "image", "channels": channels, "size": [8, 8]}]))
    bundle.run({"image": image(8)})
    with pytest.raises(InputError, match=r"12 × 12 pixels; expected exactly \(8, 8\)"):
        bundle.run({"image": image(12)})


@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_a_card_for_another_graph_is_refused(made: Made, what: str) -> None:
    wrong: dict[str, Any] = {
        "inputs": [{"name": "photo", "channels": ["grey"]}],
        "outputs": [{"name": "other", "activation": "none"}],
    }
    bundle = load(made(**{what: wrong[what]}))
    with pytest.raises(BundleError, match=f"its card names the {what}"):
        bundle.run({"image": image()})


def test_a_graph_that_the_runtime_refuses_is_named(
    tiny_model: Callable[..., onnx.ModelProto],
    tiny_card: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    model = tiny_model()
    model.graph.node.append(helper.make_node("NoSuchOperator", ["scores"], ["more"]))
    folder = save(tiny_card(), {"model.onnx": model.SerializeToString()}, tmp_path / "b")
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime .* does not take it"):
        load(folder).run({"image": image()})


def test_two_inputs_one_a_vector_of_another_bundle(
    tiny_card: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Concat", ["flat", "lesions"], ["grade"], axis=1),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "grade",
        [
            info("image", TensorProto.FLOAT, ["n", 1, "h", "w"]),
            info("lesions", TensorProto.FLOAT, ["n", 2]),
        ],
        [info("grade", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    card = tiny_card(
        task="classification",
        inputs=[
            {"name": "image", "channels": ["green"]},
            {
                "name": "lesions",
                "channels": ["a", "b"],
                "source": "output",
                "bundle": "retina-lesions",
                "output": "features",
            },
        ],
        outputs=[{"name": "grade", "activation": "none"}],
        requires=["retina-lesions"],
    )
    bundle = load(save(card, {"model.onnx": model.SerializeToString()}, tmp_path / "b"))
    # values of another bundle's output are not bound to the photograph's range
    feed = {"image": image(channels=1), "lesions": np.float32([[7, -3]])}
    np.testing.assert_allclose(bundle.run(feed)["grade"], [[0.5, 7, -3]])
    with pytest.raises(InputError, match=r"'lesions' has shape .* expected \(N, C\)"):
        bundle.run(feed | {"lesions": image()})


def test_what_was_checked_is_what_runs(
    made: Made, tiny_model: Callable[..., onnx.ModelProto]
) -> None:
    folder = made()
    bundle = load(folder)
    other = tiny_model(weight=-1.0).SerializeToString()
    assert len(other) == (folder / "model.onnx").stat().st_size
    (folder / "model.onnx").write_bytes(other)
    with pytest.raises(BundleError, match="changed since"):
        bundle.run({"image": image()})


def test_after_the_first_run_the_file_does_not_matter(made: Made) -> None:
    folder = made()
    bundle = load(folder)
    before = bundle.run({"image": image()})["scores"]
    (folder / "model.onnx").write_bytes(b"gone")
    np.testing.assert_array_equal(bundle.run({"image": image()})["scores"], before)


def test_many_threads_share_one_session(made: Made) -> None:
    bundle = load(made())
    values = np.linspace(0, 1, 64)
    with ThreadPoolExecutor(8) as pool:
        outs = list(pool.map(lambda v: bundle.run({"image": image(value=v)})["scores"], values))
    for value, out in zip(values, outs, strict=True):
        np.testing.assert_allclose(out, 2 * value, atol=1e-6)


def test_threads_come_from_the_environment_first(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSLER_THREADS", "0")
    with pytest.raises(InputError, match="OSLER_THREADS is '0'; set a whole number"):
        load(made()).run({"image": image()})
    monkeypatch.setenv("OSLER_THREADS", "1")
    bundle = load(made("again", runtime={"threads": 2}))
    bundle.run({"image": image()})
    assert bundle._session.get_session_options().intra_op_num_threads == 1


def test_an_absent_provider_falls_back(made: Made) -> None:
    bundle = load(made(runtime={"provider": "openvino"}))
    assert bundle.run({"image": image()})["scores"].shape == (1, 1, 8, 8)


def test_loading_imports_no_runtime_and_no_onnx(made: Made) -> None:
    code = (
        "import sys, json, osler.bundles as b; b.load(sys.argv[1]); "
        "print(json.dumps([m for m in ('onnxruntime', 'onnx', 'torch') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(made())], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
