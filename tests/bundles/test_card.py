import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import osler.bundles
from osler.bundles.card import Card, schema
from osler.bundles.parsing import CARD_BYTES_MAX, parse
from osler.errors import BundleError
from osler.record import Code

FILES = {"model.onnx": {"sha256": "0" * 64, "bytes": 1}}
SCHEMA = Path(osler.bundles.__file__).parent / "schema" / "card-1.schema.json"

FULL = {
    "schema_version": 1,
    "name": "retina-dr",
    "version": "1.2.3",
    "task": "classification",
    "title": "Diabetic retinopathy",
    "inputs": [
        {"name": "image", "channels": ["red", "green", "blue"], "size": [512, 512], "multiple": 32},
        {
            "name": "lesions",
            "channels": ["a", "b"],
            "source": "output",
            "bundle": "retina-lesions",
            "output": "features",
        },
    ],
    "outputs": [
        {
            "name": "grade",
            "activation": "softmax",
            "labels": [
                {"name": "0", "code": {"value": "1", "scheme": "SCT", "meaning": "none"}},
                {"name": "1", "threshold": 0.5, "min_area": 4},
            ],
            "calibration": {
                "method": "temperature",
                "temperature": 1.5,
                "conformal_quantile": 0.8,
                "coverage": 0.9,
                "fitted_on": "validation folds",
            },
        }
    ],
    "preprocessing": {"diameter": 512, "range": [0, 1], "field_channel": True},
    "requires": ["retina-lesions"],
    "licence": "Apache-2.0",
    "data": [{"name": "D", "source": "u", "licence": "CC-BY-4.0", "images": 3, "role": "training"}],
    "training": {
        "recipe": "dr",
        "seed": 1,
        "minutes": 2,
        "parameters": 3,
        "software": {"torch": "2"},
        "date": "2025-01-31",
        "cohort_sha256": "1" * 64,
        "split_sha256": "2" * 64,
    },
    "metrics": [
        {
            "name": "auroc",
            "value": 0.8,
            "low": 0.7,
            "high": 0.9,
            "level": 0.95,
            "images": 9,
            "data": "D",
            "how": "bootstrap",
        }
    ],
    "intended_use": "research",
    "limits": ["not for diagnosis"],
    "runtime": {"provider": "cpu", "precision": "int8", "threads": 2},
    "files": FILES,
}


def read(document: object) -> Card:
    return parse(json.dumps(document).encode(), where="card.json")


def changed(path: str, value: object) -> dict[str, object]:
    """FULL with one place, such as ``outputs.0.name``, set."""
    out = copy.deepcopy(FULL)
    place: object = out
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for part in parents:
        place = place[part]  # type: ignore[index]
    place[last] = value  # type: ignore[index]
    return out


def test_a_full_card_survives_its_own_json() -> None:
    card = read(FULL)
    assert parse(card.to_json(), where="again") == card
    assert card.outputs[0].labels[0].code == Code("1", "SCT", "none")
    assert card.inputs[0].size == (512, 512)
    assert card.output("grade").activation == "softmax"


def test_digests_of_the_data_may_be_left_out_and_must_be_digests() -> None:
    kept = read(FULL).training
    assert kept is not None
    assert (kept.cohort_sha256, kept.split_sha256) == ("1" * 64, "2" * 64)
    for name in ("cohort_sha256", "split_sha256"):
        older = copy.deepcopy(FULL)
        del older["training"][name]  # type: ignore[attr-defined]
        training = read(older).training
        assert training is not None
        assert getattr(training, name) is None
        with pytest.raises(BundleError, match=name):
            read(changed(f"training.{name}", "abc"))


def test_unknown_output_names_the_known() -> None:
    with pytest.raises(BundleError, match="no output 'grad'; it has 'grade'"):
        read(FULL).output("grad")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "Retina DR", "'name' is 'Retina DR'"),
        ("name", "retina-dr\n", "'name'"),
        ("version", "1.0", "'version' is '1.0'"),
        ("version", "١.٠.٠", "'version'"),
        ("task", "detection", "'segmentation' or 'classification'"),
        ("tasks", "x", "'tasks' is not a field of a card; did you mean 'task'?"),
        ("inputs", [], "'inputs'"),
        ("inputs.0.multiple", "32", "'inputs[0].multiple' is '32'"),
        ("inputs.0.multiple", True, "'inputs[0].multiple' is True"),
        ("inputs.0.size", [500, 512], "not divisible by 32"),
        ("inputs.0.dtype", "float16", "'float32'"),
        ("inputs.0.name", "lesions", "more than once"),
        ("inputs.1.bundle", None, "exactly where 'source'"),
        ("requires", ["retina-dr", "retina-lesions"], "'retina-dr' itself"),
        ("requires", [], "'lesions' takes 'retina-lesions', not in 'requires'"),
        ("outputs.0.divides", "retina-vessels", "divides 'retina-vessels', not in 'requires'"),
        ("outputs.0.labels", [], "at least two labels"),
        ("outputs.0.labels.1.name", "0", "'labels' names '0' more than once"),
        ("outputs.0.labels.1.threshold", 1.5, "'outputs[0].labels[1].threshold' is 1.5"),
        ("outputs.0.labels.0.code", {"value": "1", "scheme": "SCT"}, "meaning' is missing"),
        ("outputs.0.calibration.temperature", 0, "temperature' is 0"),
        ("outputs.0.calibration.bias", 0.1, 'needs "platt"'),
        ("outputs.0.calibration.coverage", None, "together or not at all"),
        ("preprocessing.range", [1, 0], "does not rise"),
        ("metrics.0.low", 0.95, "'low' 0.95 is above 'high' 0.9"),
        ("metrics.0.level", None, "together or not at all"),
        ("training.date", "31.1.2025", "'training.date'"),
        ("files", {}, "'model.onnx' is missing"),
        ("files", FILES | {"../x": FILES["model.onnx"]}, "leaves the bundle"),
        ("files", FILES | {"/etc/passwd": FILES["model.onnx"]}, "is absolute"),
        ("files", FILES | {"a\\b": FILES["model.onnx"]}, "forward slashes"),
        ("files", FILES | {"C:x": FILES["model.onnx"]}, "forward slashes"),
        ("files", FILES | {"a//b": FILES["model.onnx"]}, "plain form"),
        ("files", FILES | {"card.json": FILES["model.onnx"]}, "its own digest"),
        ("files", {"model.onnx": {"sha256": "F" * 64, "bytes": 1}}, "sha256"),
        ("schema_version", "1", "'schema_version' is '1'"),
        ("schema_version", 0, "'schema_version' is 0"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(path: str, value: object, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        read(changed(path, value))
    assert message in str(caught.value)
    assert str(caught.value).startswith("card.json: ")


def test_every_wrong_field_gets_a_sentence() -> None:
    with pytest.raises(BundleError) as caught:
        read(changed("name", 3) | {"version": "x", "licence": ""})
    assert len(str(caught.value).splitlines()) == 4


def test_a_later_version_says_update() -> None:
    with pytest.raises(BundleError, match="schema_version 2; this osler reads up to 1: update"):
        read({"schema_version": 2, "anything": "else"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b'{"name": "\\ud800"}',
        b" " * (CARD_BYTES_MAX + 1),
        json.dumps(changed("metrics.0.value", float("nan"))).encode(),
        json.dumps(changed("metrics.0.value", float("inf"))).encode(),
    ],
)
def test_damaged_content_is_a_bundle_error(content: bytes) -> None:
    with pytest.raises(BundleError, match="card"):
        parse(content, where="card.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@given(field=st.sampled_from(sorted(FULL)), value=JSON)
def test_any_value_anywhere_gives_a_card_or_a_bundle_error(field: str, value: object) -> None:
    with contextlib.suppress(BundleError):
        card = read(FULL | {field: value})
        assert parse(card.to_json(), where="again") == card


@given(st.binary(max_size=64))
def test_any_bytes_give_a_bundle_error(content: bytes) -> None:
    with pytest.raises(BundleError):
        parse(content, where="card.json")


@given(st.data())
def test_a_damaged_byte_gives_a_card_or_a_bundle_error(data: st.DataObject) -> None:
    content = bytearray(json.dumps(FULL).encode())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BundleError):
        parse(bytes(content), where="card.json")


def test_the_shipped_schema_is_current() -> None:
    current = json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == current, (
        "the card changed: write osler.bundles.card.schema() to src/osler/bundles/schema anew"
    )


def test_the_documented_card_is_a_card_with_every_field() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bundles.md").read_text(encoding="utf-8")
    example = text.split("```json\n")[1].split("```")[0]
    card = parse(example.encode(), where="docs/bundles.md")
    # nothing is left to its default: what is written is what is read
    assert json.loads(card.to_json()) == json.loads(example)
