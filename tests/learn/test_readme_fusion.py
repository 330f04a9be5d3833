"""The README's example of two eyes and a table runs as it stands there."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

README = Path(__file__).resolve().parents[2] / "README.md"


def example():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    (found,) = [one for one in blocks if '"left": "fundus"' in one]
    return found


def test_it_fuses_two_eyes_and_a_table_in_ten_lines(tmp_path, monkeypatch, capsys):
    code = example()
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10
    with (tmp_path / "eyes.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        columns = ["case_id", "patient_id", "left", "right", "age", "sex", "label:diabetes"]
        writer.writerow(columns)
        for n in range(25):
            rng = np.random.default_rng(n)
            ill = n % 2 == 0
            names = [f"{n}-{side}.jpg" for side in ("left", "right")]
            for name in (*names, *(["left.jpg", "right.jpg"] if n == 0 else [])):
                grey = rng.integers(0, 120, (32, 32, 3)) + (100 if ill else 0)
                Pillow.fromarray(grey.astype(np.uint8)).save(tmp_path / name)
            age = 50 + n if n % 3 else ""
            left = names[0] if n % 4 else ""
            writer.writerow([n, n, left, names[1], age, "fm"[n % 5 > 1], "yes" if ill else "no"])
    monkeypatch.chdir(tmp_path)
    space: dict = {}
    exec(code.replace('"steps": 600', '"steps": 4, "batch": 2'), space)
    answer = space["answer"]
    assert answer.value in ("yes", "no")
    assert set(answer.contributions) == set(answer.without) == {"left", "right", "age"}
    assert len(capsys.readouterr().out.splitlines()) >= 3
    with pytest.raises(KeyError):
        space["case"]["sex"]
