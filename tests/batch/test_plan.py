"""Where each input goes, and what is skipped."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.batch import plan
from osler.batch.job import Options
from osler.errors import InputError

CURRENT = {"retina-vessels": "1.0.0", "retina-dr": "1.0.0"}


def written(out: Path, name: str, source: Path, **changes: object) -> Path:
    """A case's folder as far as the plan looks at it."""
    folder = out / name
    folder.mkdir(parents=True)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    content = {
        "items": {"photo": {"source": {"file": source.name, "sha256": digest}}},
        "sources": [
            {"kind": "bundle", "name": "retina-vessels", "version": "1.0.0"},
            {"kind": "algorithm", "name": "osler.retina.field", "version": "0.0.1"},
        ],
        "findings": [{"kind": "passage", "language": "en"}],
    }
    (folder / "findings.json").write_text(json.dumps(content | changes))
    (folder / "report.html").write_text("")
    return folder


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "eye.jpg"
    path.parent.mkdir()
    path.write_bytes(b"\xff\xd8\xff\xe0 a photograph")
    return path


def planned(paths: list[Path], out: Path, **options: object) -> list[tuple[str, bool]]:
    force = bool(options.pop("force", False))
    jobs = plan.jobs(paths, out, options=Options(**options), current=CURRENT, force=force)
    return [(job.case_id, job.done) for job in jobs]


def test_a_new_input_is_read(tmp_path, photo):
    assert planned([photo], tmp_path / "out") == [("eye", False)]


def test_the_same_reading_is_skipped_unless_forced(tmp_path, photo):
    out = tmp_path / "out"
    written(out, "eye", photo)
    assert planned([photo], out) == [("eye", True)]
    assert planned([photo], out, force=True) == [("eye", False)]


@pytest.mark.parametrize("options", [{"dicom": True}, {"fhir": True}, {"language": "zh"}])
def test_other_options_are_read_again(tmp_path, photo, options):
    out = tmp_path / "out"
    written(out, "eye", photo)
    assert planned([photo], out, **options) == [("eye", False)]


def test_fewer_outputs_are_no_reason_to_read_again(tmp_path, photo):
    out = tmp_path / "out"
    written(out, "eye", photo)
    assert planned([photo], out, html=False) == [("eye", True)]


def test_another_version_of_a_bundle_is_read_again(tmp_path, photo):
    out = tmp_path / "out"
    old = [{"kind": "bundle", "name": "retina-vessels", "version": "0.9.0"}]
    written(out, "eye", photo, sources=old)
    assert planned([photo], out) == [("eye", False)]


def test_the_reading_of_another_file_is_kept(tmp_path, photo):
    out = tmp_path / "out"
    other = tmp_path / "eye.jpg"
    other.write_bytes(b"another photograph of that name")
    written(out, "eye", other)
    assert planned([photo], out) == [("eye-2", False)]
    written(out, "eye-2", photo)
    assert planned([photo], out) == [("eye-2", True)]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"items": {}}', "\xff", "null"])
def test_a_folder_that_is_no_case_is_left_alone(tmp_path, photo, content):
    folder = tmp_path / "out" / "eye"
    folder.mkdir(parents=True)
    (folder / "findings.json").write_text(content, encoding="latin-1")
    assert planned([photo], tmp_path / "out") == [("eye-2", False)]


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["items", "source", "sources", "findings",
                                                       "kind", "sha256", "file"]), inner,
                                      max_size=4), max_leaves=12))  # fmt: skip
def test_any_json_is_a_case_or_none(tmp_path_factory, document):
    folder = tmp_path_factory.mktemp("case")
    (folder / "findings.json").write_text(json.dumps(document))
    assert plan.written(folder) is None


def test_inputs_of_one_name_get_folders_of_their_own(tmp_path):
    paths = [tmp_path / side / "Eye.jpg" for side in ("left", "right")]
    paths.append(tmp_path / "eye.PNG")
    names = [name.casefold() for name, _ in planned(paths, tmp_path / "out")]
    assert len(set(names)) == 3


def test_what_lies_in_the_output_folder_is_no_input(tmp_path, photo):
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    out = tmp_path / "in" / "out"
    out.mkdir()
    (out / "eye.vessel.png").write_bytes(photo.read_bytes())
    assert plan.inputs([str(tmp_path / "in")], out) == [photo]
    named = str(out / "eye.vessel.png")
    assert plan.inputs([named], out) == [Path(named)]
    with pytest.raises(InputError, match="output folder"):
        plan.inputs([str(out)], out)


def test_a_file_that_calls_itself_an_image_is_not_passed_over(tmp_path, photo):
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    (photo.parent / "empty.jpg").touch()
    (photo.parent / "notes.txt").write_text("no image")
    found = plan.inputs([str(photo.parent)], tmp_path / "out")
    assert sorted(p.name for p in found) == ["empty.jpg", "eye.jpg"]


@pytest.mark.parametrize(
    ("engine", "flags", "done"),
    [
        ("openai:http://127.0.0.1:1/v1#tiny", ["drafted", "draft-checked"], True),
        ("openai:http://127.0.0.1:1/v1#other", ["drafted", "draft-checked"], False),
        ("openai:http://127.0.0.1:1/v1#tiny", ["drafted", "draft-missing"], False),
        ("none", ["drafted", "draft-missing"], True),
    ],
)
def test_a_draft_of_the_same_engine_is_kept(engine, flags, done):
    from osler.batch.plan import Written, _draft, _same

    source = {"name": "osler.language.drafting · tiny at 127.0.0.1:1"}
    found = [{"id": "draft-check", "kind": "passage", "flags": flags, "source": source}]
    there = Written("eye.jpg", "0", {}, frozenset(("en",)), frozenset(("html",)), _draft(found))
    assert _same(there, Options(engine=engine), {}) == done
