"""What the DICOM tests ask of dciodvfy, a validator that is not ours."""

import shutil
import subprocess
from pathlib import Path

import pytest


def errors(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a file; skips where it is not installed."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    done = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    said = (done.stdout + done.stderr).splitlines()
    found = [line for line in said if line.startswith("Error")]
    return found or ([f"exit {done.returncode}"] if done.returncode else [])
