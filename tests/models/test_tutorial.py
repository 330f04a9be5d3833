"""The tutorial that adds a network is done as it is written, on a copy of the source."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)


def test_a_network_added_as_the_tutorial_says_keeps_the_contract(tmp_path):
    text = (REPOSITORY / "docs/tutorials/add-a-network.md").read_text(encoding="utf-8")
    blocks = dict(BLOCK.findall(text))
    entry = blocks.pop("src/osler/models/catalogue.py")
    assert len(blocks) == 2
    shutil.copytree(
        REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.onnx", "__pycache__")
    )
    for name, content in blocks.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content, encoding="utf-8")
    catalogue = tmp_path / "src/osler/models/catalogue.py"
    listed = catalogue.read_text(encoding="utf-8")
    first = listed.index("    # retinal foundation models\n")
    catalogue.write_text(listed[:first] + entry + listed[first:], encoding="utf-8")
    contract = REPOSITORY / "tests/contracts/test_network.py"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        contract,
        "-k",
        "convmixer",
    ]
    run = subprocess.run(
        [*map(str, command), "--rootdir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert re.search(r"\b[89] passed", run.stdout), run.stdout[-500:]
