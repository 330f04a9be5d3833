"""Sliding windows, with MONAI's inference as the oracle where torch is installed."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import InputError
from osler.tasks.sliding_window import gaussian_weights, sliding_window, windows

Patch = tuple[int, ...]


def stand_in(x: np.ndarray) -> np.ndarray:
    """Three scores that depend on the place in the window, as a network's do near its edges."""
    place = sum(
        np.arange(side, dtype=np.float32).reshape([-1 if n == axis else 1 for n in range(x.ndim)])
        for axis, side in enumerate(x.shape)
        if axis > 1
    )
    first, last = x[:, :1], x[:, -1:]
    scores = [np.sin(first) + place * 0.1, last * place, first - last]
    return np.concatenate(scores, axis=1).astype(np.float32)


def volume(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "patch", "overlap"),
    [
        ((2, 20, 22, 24), (8, 8, 8), 0.5),
        ((1, 17, 9, 30), (8, 9, 10), 0.25),
        ((1, 5, 20, 6), (8, 8, 8), 0.5),
        ((2, 3, 3, 3), (8, 7, 4), 0.5),
        ((1, 9, 9, 9), (4, 4, 4), 0.0),
        ((1, 9, 9, 9), (4, 4, 4), 0.9),
        ((2, 21, 33), (8, 10), 0.5),
    ],
)
@pytest.mark.parametrize("weights", ["gaussian", "even"])
def test_agrees_with_monai(shape: Patch, patch: Patch, overlap: float, weights: str) -> None:
    torch = pytest.importorskip("torch")
    inferers = pytest.importorskip("monai.inferers")
    image = volume(*shape)
    theirs = inferers.sliding_window_inference(
        torch.from_numpy(image)[None],
        patch,
        2,
        lambda x: torch.from_numpy(stand_in(x.numpy())),
        overlap=overlap,
        mode="gaussian" if weights == "gaussian" else "constant",
        padding_mode="replicate",
    )[0].numpy()
    ours = sliding_window(
        image,
        stand_in,
        patch=patch,
        overlap=overlap,
        weights=weights,
        batch=2,  # type: ignore[arg-type]
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_weights_are_monais() -> None:
    utils = pytest.importorskip("monai.data.utils")
    for patch in ((8, 8, 8), (5, 12), (96, 64, 7)):
        theirs = utils.compute_importance_map(patch, mode="gaussian", sigma_scale=0.125).numpy()
        np.testing.assert_allclose(gaussian_weights(patch), theirs, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    patch=st.tuples(*[st.integers(1, 9)] * 3),
    overlap=st.floats(0, 0.8),
    slab=st.sampled_from([1, 2, 5, 100]),
    batch=st.integers(1, 4),
)
def test_by_the_definition_and_the_same_for_every_slab(
    shape: Patch, patch: Patch, overlap: float, slab: int, batch: int
) -> None:
    image = volume(1, *shape)
    laid = windows(shape, patch, overlap=overlap)
    weigh = gaussian_weights(patch).astype(np.float64)
    margin = [max(side - size, 0) for side, size in zip(patch, shape, strict=True)]
    before = [m // 2 for m in margin]
    pads = [(b, m - b) for b, m in zip(before, margin, strict=True)]
    padded = np.pad(image, [(0, 0), *pads], mode="edge")
    total = np.zeros((3, *padded.shape[1:]))
    whole = np.zeros(padded.shape[1:])
    for d in laid.starts[0]:
        for h in laid.starts[1]:
            for w in laid.starts[2]:
                part = tuple(
                    slice(s + b, s + b + side)
                    for s, b, side in zip((d, h, w), before, patch, strict=True)
                )
                total[(slice(None), *part)] += (
                    stand_in(padded[(slice(None), *part)][None])[0] * weigh
                )
                whole[part] += weigh
    inner = tuple(slice(b, b + size) for b, size in zip(before, shape, strict=True))
    expected = (total / whole)[(slice(None), *inner)]
    ours = sliding_window(image, stand_in, patch=patch, overlap=overlap, slab=slab, batch=batch)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    again = sliding_window(image, stand_in, patch=patch, overlap=overlap)
    np.testing.assert_array_equal(ours, again)


def test_scores_that_are_spilled_are_the_same(tmp_path: Path) -> None:
    image = volume(1, 20, 10, 10)
    held = sliding_window(image, stand_in, patch=(6, 6, 6))
    mapped = sliding_window(image, stand_in, patch=(6, 6, 6), slab=3, spill=tmp_path / "scores.npy")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(held, mapped)
    np.testing.assert_array_equal(held, np.load(tmp_path / "scores.npy"))


def test_an_image_in_a_file_is_read_window_by_window(tmp_path: Path) -> None:
    image = volume(1, 20, 10, 10)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        sliding_window(image, stand_in, patch=(6, 6, 6)),
        sliding_window(mapped, stand_in, patch=(6, 6, 6)),
    )


def test_memory_above_the_result_is_a_window(tmp_path: Path) -> None:
    image = volume(1, 64, 64, 64)
    result = 3 * image.nbytes
    peaks = []
    for spill in (None, tmp_path / "scores.npy"):
        tracemalloc.start()
        sliding_window(image, stand_in, patch=(16, 16, 16), slab=4, spill=spill)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < result + 600_000
    assert peaks[1] < 600_000  # the mapped result is not held


def test_zeros_beyond_a_small_image() -> None:
    ones = np.ones((1, 2, 2, 2), np.float32)
    seen = []

    def watch(x: np.ndarray) -> np.ndarray:
        seen.append(x.sum())
        return x

    for padding in ("zero", "edge"):
        sliding_window(ones, watch, patch=(4, 4, 4), padding=padding)  # type: ignore[arg-type]
    assert seen == [8, 64]


def test_through_onnx_runtime() -> None:
    ort = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 1, 3, 3, 3)).astype(np.float32)
    sizes = ["n", 1, "d", "h", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["image", "kernel"], ["scores"], pads=[1] * 6)],
        "convolution",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, sizes)],
        [onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 9
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = volume(1, 18, 14, 12)
    whole = session.run(["scores"], {"image": image[None]})[0][0]
    # weights that vanish at the edge leave a window's faulty rim without influence
    side = np.ones(10, np.float32)
    side[[0, -1]] = 1e-6
    rim = side[:, None, None] * side[:, None] * side
    ours = sliding_window(
        image,
        lambda x: session.run(["scores"], {"image": x})[0],
        patch=(10, 10, 10),
        weights=rim,
    )
    np.testing.assert_allclose(ours, whole, atol=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    image = volume(1, 6, 6, 6)
    with pytest.raises(InputError, match="one size of at least 1"):
        sliding_window(image, stand_in, patch=(4, 4))
    with pytest.raises(InputError, match="below 1"):
        sliding_window(image, stand_in, patch=(4, 4, 4), overlap=1.0)
    with pytest.raises(InputError, match="expected \\(N, L"):
        sliding_window(image, lambda x: x[..., 1:], patch=(4, 4, 4))
    with pytest.raises(InputError, match="positive numbers"):
        sliding_window(image, stand_in, patch=(4, 4, 4), weights=np.zeros((4, 4, 4), np.float32))
    with pytest.raises(InputError, match="from 1"):
        sliding_window(image, stand_in, patch=(4, 4, 4), batch=0)
    counts = iter(range(1, 9))
    with pytest.raises(InputError, match="2 labels after 1"):
        sliding_window(image, lambda x: np.repeat(x, next(counts), axis=1), patch=(4, 4, 4))
