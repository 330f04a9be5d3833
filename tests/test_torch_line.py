"""The light rooms run where torch is not: by importing them, and by the main job itself."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "idrid-073.jpg"

# found by every interpreter that is started with it on its path, so by worker processes too
NO_TORCH = """
import sys

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}: the torch line", name=name)

sys.meta_path.insert(0, Wall())
"""

IMPORT_ALL = """
import importlib, pkgutil, sys
import osler
for module in pkgutil.walk_packages(osler.__path__, "osler.", onerror=lambda name: None):
    if not module.name.startswith(("osler.learn", "osler.models", "osler.__main__")):
        importlib.import_module(module.name)
assert "torch" not in sys.modules
"""

MAIN_JOB = """
import sys
from osler.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
assert "torch" not in sys.modules
"""


def run(folder: Path, code: str, *arguments: str) -> None:
    (folder / "sitecustomize.py").write_text(NO_TORCH)
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert result.returncode == 0, result.stderr


def test_the_wall_stands(tmp_path):
    run(tmp_path, "import pytest\nwith pytest.raises(ModuleNotFoundError): import torch")


def test_light_rooms_import(tmp_path):
    run(tmp_path, IMPORT_ALL)


def test_the_main_job_runs(tmp_path):
    out = tmp_path / "out"
    run(tmp_path, MAIN_JOB, "read", str(EXAMPLE), "--out", str(out), "--dicom", "--fhir")
    assert (out / "idrid-073" / "report.html").is_file()


def test_one_bundle_alone_runs(tmp_path):
    out = tmp_path / "out"
    run(tmp_path, MAIN_JOB, "predict", "retina-vessels", str(EXAMPLE), "--out", str(out))
    assert (out / "idrid-073.vessel.png").is_file()
