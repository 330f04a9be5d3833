"""Calls of which one never ends, for a process that is to be ended."""

import os
import time
from pathlib import Path

from osler.serve.calls import Calls
from osler.serve.workplace import Workplace


class Slow(Calls):
    """Reading takes an hour, or ends the process, or fails with words of the record."""

    def read(self, path):
        if path == "gone":
            os._exit(3)
        if path == "odd":
            raise ValueError("Adaeze Okonkwo")
        if path != "quick":
            time.sleep(3600)
        return "read"


def slow(root: Path) -> Calls:
    print("a line that an agent must never read")
    return Slow(Workplace([root]))
