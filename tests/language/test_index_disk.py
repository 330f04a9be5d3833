"""An index on disk: what goes in comes out; what is damaged or foreign does not."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import InputError, OslerError, OutputError, RecipeError, UnreadableError
from osler.language.index import Entry, Index
from osler.language.index_parts import EncoderSaid
from osler.language.searching import nearest
from osler.models.text_encoder import unit

DIM = 8
SAID = EncoderSaid(kind="text", name="words", version="1", dim=DIM, images=False, texts=True)
RNG = np.random.default_rng(0)


def entries(count, *, start=0, kind="text", **more):
    return [
        Entry(kind, f"../files/{n}.txt", f"{n:064x}", "report", **more)
        for n in range(start, start + count)
    ]


def made(folder, count=30, **options):
    index = Index.create(folder, SAID, **options)
    vectors = RNG.standard_normal((count, DIM))
    index.append(vectors, entries(count))
    return index, unit(vectors)


def test_what_was_put_in_is_found(tmp_path):
    index, vectors = made(tmp_path / "index")
    again = Index.open(tmp_path / "index")
    again.verify()
    assert len(again) == 30
    for row in (0, 13, 29):
        hit = again.search(vectors[row : row + 1], 3)[0][0]
        assert hit.row == row
        assert hit.score == pytest.approx(1.0, abs=1e-6)
        assert hit.entry == entries(30)[row]
    assert index.entry(4).file == "../files/4.txt"


@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5), k=st.integers(1, 12))
def test_parts_are_one_index(tmp_path_factory, sizes, k):
    folder = tmp_path_factory.mktemp("parts") / "index"
    rng = np.random.default_rng(sum(sizes))
    vectors = unit(rng.standard_normal((sum(sizes), DIM)))
    index, start = Index.create(folder, SAID), 0
    for size in sizes:
        assert index.append(vectors[start : start + size], entries(size, start=start)) == size
        start += size
    asked = unit(rng.standard_normal((3, DIM)))
    found = Index.open(folder).search(asked, k)
    whole = nearest(vectors, asked, k)
    for query in range(3):
        assert [hit.row for hit in found[query]] == whole.rows[query].tolist()
        assert [hit.score for hit in found[query]] == pytest.approx(whole.scores[query], abs=1e-7)


def test_the_same_item_of_the_same_file_is_taken_once(tmp_path):
    index, vectors = made(tmp_path / "index", 5)
    assert index.append(vectors, entries(5)) == 0
    assert (
        index.append(np.repeat(vectors[:1], 3, axis=0), entries(2, start=4) + entries(1, start=5))
        == 1
    )
    assert len(Index.open(tmp_path / "index")) == 6
    assert index.holds(entries(1, start=5)[0])
    assert index.row_of(entries(1, start=5)[0]) == 5
    assert not index.holds(entries(1, start=9)[0])


def test_half_the_room_finds_the_same(tmp_path):
    index, vectors = made(tmp_path / "index", 200, dtype="float16")
    hits = index.search(vectors[:20], 1)
    assert [one[0].row for one in hits] == list(range(20))
    size = (tmp_path / "index" / index.listed.parts[0].name / "vectors.npy").stat().st_size
    assert size == 200 * DIM * 2 + 128


def test_groups_keep_a_patient_from_its_own_query(tmp_path):
    index = Index.create(tmp_path / "index", SAID)
    vectors = unit(RNG.standard_normal((6, DIM)))
    index.append(vectors, entries(6), groups=["a", "a", "b", "b", "c", "c"])
    assert index.groups.tolist() == [0, 0, 1, 1, 2, 2]
    own = index.groups[[0, 2]].tolist()
    found = index.search(vectors[[0, 2]], 6, own=own)
    assert [sorted(hit.row for hit in one) for one in found] == [[2, 3, 4, 5], [0, 1, 4, 5]]
    index.append(RNG.standard_normal((1, DIM)), entries(1, start=7), groups=["a"])
    assert index.groups[-1] == 3  # nothing says who "a" was
    text = "".join(p.read_text("utf-8") for p in (tmp_path / "index").rglob("*.json*"))
    assert '"patient"' not in text


def test_patients_are_named_only_where_that_was_asked_for(tmp_path):
    named = [Entry("text", "f", "e" * 64, "report", patient="P1")]
    index, _ = made(tmp_path / "one", 3)
    with pytest.raises(InputError, match="names no patients"):
        index.append(np.ones((1, DIM)), named)
    other = Index.create(tmp_path / "two", SAID, names=True)
    other.append(np.ones((1, DIM)), named, groups=["P1"])
    again = [Entry("text", "g", "1" * 64, "report", patient="P1")]
    other.append(np.ones((1, DIM)), again, groups=["P1"])
    assert other.groups.tolist() == [0, 0]
    assert other.entry(1).patient == "P1"


def test_only_one_kind_is_given_where_it_is_asked_for(tmp_path):
    index = Index.create(tmp_path / "index", SAID)
    vectors = unit(RNG.standard_normal((10, DIM)))
    index.append(vectors, entries(5) + entries(5, start=5, kind="image"))
    rows = [hit.row for hit in index.search(vectors[:1], 9, kind="image")[0]]
    assert sorted(rows) == [5, 6, 7, 8, 9]


def test_a_graph_finds_what_the_exact_search_finds(tmp_path):
    pytest.importorskip("faiss")
    index, vectors = made(tmp_path / "index", 400)
    with pytest.raises(RecipeError, match="no graph"):
        index.search(vectors[:1], 5, approximate=True)
    index.build()
    again = Index.open(tmp_path / "index")
    again.verify()
    own = index.groups[:50].tolist()
    exact = again.search(vectors[:50], 5, own=own)
    some = again.search(vectors[:50], 5, own=own, approximate=True)
    shared = [
        len({h.row for h in a} & {h.row for h in b}) for a, b in zip(exact, some, strict=True)
    ]
    assert sum(shared) >= 0.97 * 250
    # scores are those of the vectors themselves, not of their 8 bits
    scores = {(n, h.row): h.score for n, one in enumerate(exact) for h in one}
    for n, one in enumerate(some):
        for hit in one:
            assert hit.score == pytest.approx(scores.get((n, hit.row), hit.score), abs=1e-6)
    # what comes later is searched whole
    late = unit(RNG.standard_normal((1, DIM)))
    again.append(late, entries(1, start=900))
    assert again.search(late, 1, approximate=True)[0][0].row == 400


def test_a_graph_finds_the_few_that_are_allowed(tmp_path):
    pytest.importorskip("faiss")
    index = Index.create(tmp_path / "index", SAID)
    vectors = unit(RNG.standard_normal((600, DIM)))
    index.append(vectors, entries(595) + entries(5, start=595, kind="image"))
    index.build()
    rows = [hit.row for hit in index.search(vectors[:1], 9, kind="image", approximate=True)[0]]
    assert sorted(rows) == [595, 596, 597, 598, 599]


def test_a_damaged_graph_is_refused_before_it_is_read(tmp_path):
    pytest.importorskip("faiss")
    index, vectors = made(tmp_path / "index", 60)
    index.build()
    (file,) = (tmp_path / "index").glob("graph-*/graph.faiss")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UnreadableError, match="has changed"):
        Index.open(tmp_path / "index").search(vectors[:1], 3, approximate=True)
    assert Index.open(tmp_path / "index").search(vectors[:1], 3)[0][0].row == 0


def test_nothing_like_it_is_an_answer_as_often_as_promised(tmp_path):
    rng = np.random.default_rng(5)
    index = Index.create(tmp_path / "index", SAID)
    centres = rng.standard_normal((4, DIM)) * 3
    draw = lambda n: centres[rng.integers(0, 4, n)] + rng.standard_normal((n, DIM))  # noqa: E731
    index.append(draw(400), entries(400))
    assert index.likeness(0.9, asked="text", given="text") is None
    index.learn_known()
    again = Index.open(tmp_path / "index")

    def refused(vectors):
        hits = again.search(vectors, 1)
        p = [again.likeness(one[0].score, asked="text", given="text") for one in hits]
        return np.mean(np.array(p) <= 0.05)

    assert refused(draw(1000)) < 0.09  # of those that belong, about one in twenty
    strangers = -centres.sum(axis=0) + rng.standard_normal((300, DIM))
    assert refused(strangers) > 0.5
    limit = again.threshold(0.95, asked="text", given="text")
    assert again.likeness(limit - 0.001, asked="text", given="text") <= 0.05
    assert again.likeness(limit, asked="text", given="text") > 0.05
    assert again.threshold(0.9999, asked="text", given="text") is None
    assert again.likeness(0.9, asked="image", given="text") is None


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not empty"):
        Index.create(tmp_path, SAID)
    with pytest.raises(InputError, match="is no index"):
        Index.open(tmp_path)


def test_two_runs_do_not_lose_each_others_entries(tmp_path):
    made(tmp_path / "index", 4)
    one, two = Index.open(tmp_path / "index"), Index.open(tmp_path / "index")
    one.append(RNG.standard_normal((1, DIM)), entries(1, start=50))
    with pytest.raises(OutputError, match="meanwhile"):
        two.append(RNG.standard_normal((1, DIM)), entries(1, start=60))
    assert len(Index.open(tmp_path / "index")) == 5


def test_what_an_interrupted_run_left_is_not_seen(tmp_path):
    index, _ = made(tmp_path / "index", 4)
    shutil.copytree(
        tmp_path / "index" / index.listed.parts[0].name, tmp_path / "index" / "part-0123456789ab"
    )
    (tmp_path / "index" / ".abc.part-index.json").write_text("{")
    again = Index.open(tmp_path / "index")
    assert len(again) == 4
    again.verify()


def test_what_cannot_be_written_leaves_no_part(tmp_path):
    index, vectors = made(tmp_path / "index", 4)
    with pytest.raises(InputError, match="longer than"):
        index.append(vectors[:1], [Entry("text", "f" * 70_000, "9" * 64, "report")])
    with pytest.raises(InputError, match="no direction"):
        index.append(np.zeros((1, DIM)), entries(1, start=77))
    with pytest.raises(InputError, match="numbers"):
        index.append(np.ones((1, DIM + 1)), entries(1, start=77))
    assert len(list((tmp_path / "index").glob("part-*"))) == 1


NAMES = ["vectors.npy", "groups.npy", "kinds.npy", "digests.npy", "starts.npy", "entries.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_is_noticed(tmp_path, name):
    index, _ = made(tmp_path / "index", 4)
    path = tmp_path / "index" / index.listed.parts[0].name / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match="has changed"):
        Index.open(tmp_path / "index").verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UnreadableError, match="bytes and the index says"):
        Index.open(tmp_path / "index")
    path.unlink()
    with pytest.raises(UnreadableError, match="missing"):
        Index.open(tmp_path / "index")


class _Trap:
    def __reduce__(self):
        return os.mkdir, (os.environ["OSLER_TRAP"],)


def test_no_file_can_run_code(tmp_path, monkeypatch):
    monkeypatch.setenv("OSLER_TRAP", str(tmp_path / "sprung"))
    index, vectors = made(tmp_path / "index", 4)
    path = tmp_path / "index" / index.listed.parts[0].name / "vectors.npy"
    for trap in (pickle.dumps(_Trap()), _object_array()):
        size = path.stat().st_size
        path.write_bytes(trap.ljust(size, b"\0")[:size] if len(trap) < size else trap)
        _forge(tmp_path / "index")
        with pytest.raises(UnreadableError):
            Index.open(tmp_path / "index").search(vectors[:1], 1)
    assert not (tmp_path / "sprung").exists()


def _object_array():
    import io

    file = io.BytesIO()
    np.save(file, np.array([_Trap()], object), allow_pickle=True)
    return file.getvalue()


def _forge(folder, **changed):
    """Make the list agree with the files as they are, as whoever hands on an index could."""
    from osler.language.index_parts import described

    said = json.loads((folder / "index.json").read_text("utf-8"))
    for part in said["parts"]:
        part["files"] = described(folder / part["name"], 1).model_dump()["files"]
    (folder / "index.json").write_text(json.dumps({**said, **changed}))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"schema_version": 2}, {"parts": [{"name": "../x"}]}, {"more": 1},
        {"encoder": None}, {"dtype": "float64"}, {"known": 3}, {"groups": -1},
    ],
)  # fmt: skip
def test_a_foreign_list_is_refused(tmp_path, change):
    made(tmp_path / "index", 4)
    _forge(tmp_path / "index", **change)
    with pytest.raises(UnreadableError):
        Index.open(tmp_path / "index")


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_one_of_our_errors(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage") / "index"
    index, vectors = made(folder, 5)
    part = folder / index.listed.parts[0].name
    path = data.draw(st.sampled_from([folder / "index.json", *(part / name for name in NAMES)]))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    try:
        if path.name != "index.json":
            _forge(folder)
        opened = Index.open(folder)
        for hit in opened.search(vectors[:2], 3)[0]:
            assert isinstance(hit.entry.file, str)
        list(opened.entries())
    except OslerError:
        pass
