"""BIDS folders: what becomes of them, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing_files import FUZZ, json_values, only_our_errors, take, volume, write_json

from osler.errors import UnreadableError


@pytest.fixture
def bids(tmp_path):
    source = tmp_path / "ds"
    write_json(source / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    write_json(source / "T1w.json", {"EchoTime": 0.003, "MagneticFieldStrength": 3})
    for subject, session in (("01", "pre"), ("01", "post"), ("02", "")):
        folder = source / f"sub-{subject}" / (f"ses-{session}" if session else "")
        stem = f"sub-{subject}_" + (f"ses-{session}_" if session else "")
        volume(folder / "anat" / f"{stem}T1w.nii.gz", np.ones((2, 2, 2), "u1"))
        volume(folder / "func" / f"{stem}task-rest_run-1_bold.nii.gz", np.ones((2, 2, 2), "u1"))
        (folder / "anat" / f"{stem}notes.xyz").write_text("?")
    write_json(
        source / "sub-01/ses-pre/anat/sub-01_ses-pre_T1w.json", {"EchoTime": 0.004, "Other": [1]}
    )
    (source / "participants.tsv").write_text(
        "participant_id\tage\tsex\tgroup\nsub-01\t61\tF\tn/a\nsub-02\tn/a\tM\tcontrol\n"
        "sub-03\t5\tF\tcontrol\n"
    )
    (source / "sub-01/sub-01_sessions.tsv").write_text(
        "session_id\tscore\nses-pre\t3\nses-post\t4\n"
    )
    (source / "derivatives").mkdir()
    return source


def test_bids_subjects_sessions_participants_and_sidecars(bids, tmp_path):
    cohort, notes = take(bids, tmp_path / "out")
    rows = {row.case_id: row for row in cohort.rows}
    assert list(rows) == ["sub-01_ses-post", "sub-01_ses-pre", "sub-02"]
    assert rows["sub-01_ses-pre"].patient_id == rows["sub-01_ses-post"].patient_id == "sub-01"
    assert set(rows["sub-02"].items) == {"T1w", "task-rest_run-1_bold"}
    assert rows["sub-01_ses-pre"].variables == {
        "age": 61, "sex": "F", "score": 3, "T1w.EchoTime": 0.004, "T1w.MagneticFieldStrength": 3
    }  # fmt: skip
    assert rows["sub-02"].variables == {
        "sex": "M", "group": "control", "T1w.EchoTime": 0.003, "T1w.MagneticFieldStrength": 3
    }  # fmt: skip
    assert next(cohort.cases()).image("T1w").shape == (2, 2, 2)
    assert any("3 files left out, of kinds" in n for n in notes)
    assert any("derivatives" in n for n in notes)
    assert any("1 participant of participants.tsv" in n for n in notes)


def test_a_bids_file_under_a_strange_name_is_refused(bids, tmp_path):
    file = bids / "sub-02/anat/sub-02_T1w.nii.gz"
    file.rename(file.with_name("sub-03_T1w.nii.gz"))
    with pytest.raises(UnreadableError, match="not named after its folder"):
        take(bids, tmp_path / "out")


@FUZZ
@given(table=st.binary(max_size=80), sidecar=json_values)
def test_any_bids_table_and_sidecar_ends_in_our_errors(bids, tmp_path, table, sidecar):
    (bids / "participants.tsv").write_bytes(b"participant_id\tage\nsub-01\t" + table)
    write_json(bids / "T1w.json", {"EchoTime": sidecar})
    only_our_errors(bids, tmp_path)
