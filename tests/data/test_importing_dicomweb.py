"""A DICOMweb query: what becomes of it."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from osler.data.cohort import read_cohort

SERIES = [
    ("s1", "1", "CT", "P1"), ("s1", "2", "CT", "P1"), ("s1", "3", "SR", "P1"),
    ("s2", "4", "MR", "P1"), ("s3", "5", "DX", ""),
]  # fmt: skip


@pytest.fixture
def service():
    """A DICOMweb service that answers one kind of query, a page of two at a time."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            start = int(dict(p.split("=") for p in self.path.split("?")[1].split("&"))["offset"])
            page = [
                {
                    "0020000D": {"vr": "UI", "Value": [study]},
                    "0020000E": {"vr": "UI", "Value": [uid]},
                    "00080060": {"vr": "CS", "Value": [modality]},
                    "00100020": {"vr": "LO", "Value": [patient]} if patient else {"vr": "LO"},
                    "00080020": {"vr": "DA", "Value": ["20200102"]},
                }
                for study, uid, modality, patient in SERIES[start : start + 2]
            ]
            body = json.dumps(page).encode()
            self.send_response(200 if page else 204)
            if page:
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if page:
                self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/dicom-web", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_dicomweb_query_becomes_a_cohort_of_urls(service, tmp_path):
    pytest.importorskip("dicomweb_client")
    from osler.data.dicomweb import connect, import_dicomweb

    url, asked = service
    filters = {"StudyDate": "20200101-"}
    _, notes = import_dicomweb(connect(url), tmp_path / "c.csv", filters=filters)
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["case_id"], r["patient_id"]) for r in rows] == [
        ("s1", "P1"), ("s2", "P1"), ("s3", "s3")
    ]  # fmt: skip
    assert rows[0]["ct"] == f"{url}/studies/s1/series/1"
    assert rows[0]["ct-2"] == f"{url}/studies/s1/series/2"
    assert rows[2]["photo"].endswith("/series/5")
    assert rows[0]["study_date"] == "2020-01-02"
    assert read_cohort(tmp_path / "c.csv").rows[0].items["ct"].startswith("http")
    assert any("1 series of findings" in n for n in notes)
    assert any("1 study of no stated patient" in n for n in notes)
    assert len(asked) == 4  # three pages and an empty one
    assert all("StudyDate=20200101-" in path for path in asked)
    _, notes = import_dicomweb(connect(url), tmp_path / "c.csv", limit=1)
    assert "only the first 1 series" in notes[0]
