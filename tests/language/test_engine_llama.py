"""llama.cpp in this process, on a GGUF file made on the spot; and behind its HTTP interface."""

import os
from pathlib import Path

import pytest
from tiny_gguf import gguf_file

from osler.errors import InputError, UnreadableError
from osler.language.engine import EngineError, Message, open_engine

ASK = [Message("system", "Be brief."), Message("user", "Say it.")]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return gguf_file(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def _listening() -> set[str]:
    """TCP addresses on which this process listens."""
    held = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            held.add(os.readlink(entry))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in held:
                found.add(columns[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="looks at Linux's tables")
def test_it_writes_and_opens_no_port(file):
    before = _listening()
    with open_engine(f"llama.cpp:{file}", timeout=60) as engine:
        assert _listening() == before
        assert engine.name == "tiny"
        first = engine.write(ASK, limit=6)
        assert engine.write(ASK, limit=6) == first
        assert engine.write([Message("user", "Other words.")], limit=6) != first
        with pytest.raises(EngineError, match="refused"):
            engine.write([Message("user", "a b " * 9000)], limit=6)
        engine._timeout = 1e-6
        with pytest.raises(EngineError, match=r"within 1e-06 seconds"):
            engine.write(ASK, limit=1500)


def test_what_is_no_gguf(tmp_path):
    with pytest.raises(InputError, match="no file"):
        open_engine(f"llama.cpp:{tmp_path / 'absent.gguf'}")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(UnreadableError, match="no GGUF"):
        open_engine(f"llama.cpp:{tmp_path / 'text.gguf'}")


def test_a_damaged_gguf(file, tmp_path):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UnreadableError, match=r"does not read"):
        open_engine(f"llama.cpp:{damaged}")
