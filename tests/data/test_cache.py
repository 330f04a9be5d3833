"""The cache: made once however many ask, another name for other content, never beyond its limit."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from osler.data.cache import Cache, key_of
from osler.errors import InputError, OutputError


def count_calls(value=1):
    calls = []

    def make():
        calls.append(value)
        return {"a": np.full((10, 10), value, np.uint8), "b": np.arange(3.0)}

    return make, calls


def test_what_is_there_is_not_made_again(tmp_path):
    make, calls = count_calls()
    cache = Cache(tmp_path / "deep" / "cache")
    first = cache.arrays(make, name="f", version=1)
    second = cache.arrays(make, name="f", version=1)
    assert len(calls) == 1
    assert first.keys() == second.keys() == {"a", "b"}
    assert all(np.array_equal(first[k], second[k]) and first[k].dtype == second[k].dtype
               for k in first)  # fmt: skip
    assert [p.suffix for p in cache.folder.iterdir()] == [".npz"]


def test_other_content_options_or_version_are_another_entry(tmp_path):
    file = tmp_path / "input.bin"
    make, calls = count_calls()
    cache = Cache(tmp_path / "cache")
    steps = [
        (b"one", 1, {}), (b"two", 1, {}), (b"two", 2, {}), (b"two", 2, {"size": 3}),
    ]  # fmt: skip
    for content, version, options in steps:
        file.write_bytes(content)
        for _ in range(2):
            cache.arrays(make, name="f", version=version, inputs=[file], options=options)
    assert len(calls) == len(steps)
    file.write_bytes(b"one")
    cache.arrays(make, name="f", version=1, inputs=[file])
    assert len(calls) == len(steps)  # the first content again: its entry is still there


def test_where_a_file_lies_does_not_matter(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"same")
    keys = {key_of(name="f", version=1, inputs=[tmp_path / n], options={}) for n in "ab"}
    assert len(keys) == 1
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/x").write_bytes(b"1")
    one = key_of(name="f", version=1, inputs=[tmp_path / "folder"], options={})
    (tmp_path / "folder/x").write_bytes(b"22")
    assert key_of(name="f", version=1, inputs=[tmp_path / "folder"], options={}) != one
    with pytest.raises(InputError, match="cannot be read"):
        key_of(name="f", version=1, inputs=[tmp_path / "none"], options={})


def test_the_limit_is_kept_and_the_least_used_goes(tmp_path):
    cache = Cache(tmp_path, limit=50_000)
    big = {"x": np.zeros(9_000, np.uint8)}
    for k in range(5):
        cache.arrays(lambda: big, name=f"f{k}", version=1)
        os.utime(tmp_path / f"{key_of(name=f'f{k}', version=1, inputs=[], options={})}.npz",
                 (k, k))  # fmt: skip
    cache.arrays(lambda: pytest.fail("was there"), name="f0", version=1)  # used now
    cache.arrays(lambda: big, name="f5", version=1)
    assert cache.size() <= 50_000
    cache.arrays(lambda: pytest.fail("was used last"), name="f0", version=1)
    make, calls = count_calls()
    cache.arrays(make, name="f1", version=1)  # the oldest was removed
    assert len(calls) == 1


def test_what_is_larger_than_the_limit_is_given_but_not_kept(tmp_path):
    cache = Cache(tmp_path, limit=100)
    assert cache.arrays(lambda: {"x": np.zeros(1000)}, name="f", version=1)["x"].size == 1000
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_damaged_entry_is_made_again(tmp_path_factory, data):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    make, _calls = count_calls()
    cache.arrays(make, name="f", version=1)
    (entry,) = cache.folder.glob("*.npz")
    content = bytearray(entry.read_bytes())
    cut = data.draw(st.integers(0, len(content)))
    if cut < len(content) and data.draw(st.booleans()):
        content[cut] ^= 255
    else:
        content = content[:cut]
    entry.write_bytes(bytes(content))
    found = cache.arrays(make, name="f", version=1)
    assert np.array_equal(found["a"], np.ones((10, 10), np.uint8))
    assert np.array_equal(found["b"], np.arange(3.0))


@settings(max_examples=25, deadline=None)
@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_side=0)), st.text(
    st.characters(codec="ascii", categories=["L", "N"]), min_size=1))  # fmt: skip
def test_any_array_comes_back(tmp_path_factory, array, name):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.arrays(lambda: {name: array}, name="f", version=1)
    found = cache.arrays(lambda: pytest.fail("was there"), name="f", version=1)
    assert found[name].dtype == array.dtype
    assert found[name].tobytes() == array.tobytes()


def test_objects_are_not_stored(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        Cache(tmp_path).arrays(lambda: {"x": np.array([{}])}, name="f", version=1)
    assert list(tmp_path.iterdir()) == []


def test_threads_wait_for_the_one_that_makes_it(tmp_path):
    calls = []

    def make():
        calls.append(threading.get_ident())
        time.sleep(0.2)
        return {"x": np.ones(3)}

    cache = Cache(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cache.arrays(make, name="f", version=1), range(8)))
    assert len(calls) == 1
    assert all(np.array_equal(f["x"], np.ones(3)) for f in found)


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from osler.data.cache import Cache
folder, log = Path(sys.argv[1]), Path(sys.argv[2])
cache = Cache(folder, limit=3_000)
def make(k):
    def made():
        with log.open("a") as stream:
            stream.write(f"{k}\\n")
        time.sleep(0.02)
        return {"x": np.full(700, k, np.uint8)}
    return made
for turn in range(int(sys.argv[3])):
    for k in range(int(sys.argv[4])):
        got = cache.arrays(make(k), name=str(k), version=1)["x"]
        assert got.shape == (700,) and (got == k).all()
"""


def run_together(tmp_path, *, turns, entries):
    (tmp_path / "log").touch()
    (tmp_path / "program.py").write_text(PROGRAM)
    runs = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "cache"),
             str(tmp_path / "log"), str(turns), str(entries)],
            stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for run in runs:
        assert run.communicate(timeout=120)[1] == ""
        assert run.returncode == 0
    return (tmp_path / "log").read_text().split()


def test_processes_make_each_entry_once(tmp_path):
    assert sorted(run_together(tmp_path, turns=2, entries=3)) == ["0", "1", "2"]


def test_processes_that_crowd_each_other_out_stay_right(tmp_path):
    run_together(tmp_path, turns=3, entries=8)  # more than the limit holds
    left = list((tmp_path / "cache").iterdir())
    assert all(path.suffix == ".npz" for path in left)
    assert sum(path.stat().st_size for path in left) <= 3_000


def test_a_killed_writer_leaves_nothing_for_ever(tmp_path):
    part = tmp_path / ".x.npz.abc.part"
    part.write_bytes(b"half")
    os.utime(part, (1, 1))
    Cache(tmp_path).arrays(lambda: {"x": np.ones(1)}, name="f", version=1)
    assert not part.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/cache' cannot be made"):
        Cache(tmp_path / "file" / "cache")
