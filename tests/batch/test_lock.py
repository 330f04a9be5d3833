"""One run a folder, also across processes and after a crash."""

import subprocess
import sys
from pathlib import Path

import pytest

from osler.batch import lock
from osler.errors import OutputError

HOLDER = """
import sys, time
from pathlib import Path
from osler.batch import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_holder_is_refused_and_told_who_holds(tmp_path, holder):
    with pytest.raises(OutputError, match=rf"process {holder.pid}\b.*--out"), lock.hold(tmp_path):
        pass


def test_a_killed_holder_leaves_nothing_to_remove(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / lock.NAME).exists()
    with lock.hold(tmp_path):
        pass
    assert not (tmp_path / lock.NAME).exists()


def test_released_after_an_error_in_the_block(tmp_path):
    with pytest.raises(ZeroDivisionError), lock.hold(tmp_path):
        raise ZeroDivisionError
    with lock.hold(tmp_path):
        assert (tmp_path / lock.NAME).read_text().isdigit()


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(OutputError, match="missing"), lock.hold(tmp_path / "missing"):
        pass
