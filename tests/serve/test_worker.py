"""A call that takes too long is ended, and the next one is answered."""

import time
from functools import partial

import pytest
from slow_calls import slow

from osler.errors import InputError
from osler.serve.worker import Worker


def test_a_call_is_ended_after_its_time_and_the_next_is_answered(tmp_path, capfd):
    worker = Worker(partial(slow, tmp_path), seconds=0.5)
    try:
        begun = time.monotonic()
        with pytest.raises(InputError, match=r"took more than 0\.5 seconds and was ended"):
            worker.do("read", {"path": "slow"})
        assert time.monotonic() - begun < 60
        worker.seconds = 60
        assert worker.do("read", {"path": "quick"}) == "read"
        with pytest.raises(InputError, match=r"^it failed \(ValueError\)$"):
            worker.do("read", {"path": "odd"})
        with pytest.raises(InputError, match="no such call"):
            worker.do("do", {"name": "read", "arguments": {}})
        with pytest.raises(InputError, match="ended its process"):
            worker.do("read", {"path": "gone"})
        assert worker.do("read", {"path": "quick"}) == "read"
    finally:
        worker.close()
    assert capfd.readouterr().out == ""
