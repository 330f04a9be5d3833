"""Hosts that answer with anything: our errors alone, in little time and memory."""

import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from dicom_stack import as_bytes, series
from hypothesis import given, settings
from hypothesis import strategies as st
from web_server import Asked, Server, serving

import osler
from osler.errors import InputError, OslerError, TooLargeError, UnreadableError

SECONDS = 8.0  # a request that fails is sent three times
MEMORY = 48 << 20
JSON, FHIR, DICOM = "application/dicom+json", "application/fhir+json", "application/dicom"
Answer = Callable[[Asked], None]


@contextmanager
def little() -> Iterator[None]:
    """Within, little time passes and little memory is taken."""
    tracemalloc.start()
    begin = time.monotonic()
    try:
        yield
        assert time.monotonic() - begin < SECONDS
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def raw(*parts: bytes, pause: float = 0.0, again: int = 1) -> Answer:
    """Bytes as they stand, without any care for the protocol."""

    def answer(asked: Asked) -> None:
        asked.close_connection = True
        with suppress(OSError):
            asked.wfile.write(parts[0])
            for _ in range(again):
                for part in parts[1:]:
                    asked.wfile.write(part)
                    asked.wfile.flush()
                    time.sleep(pause)

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(200 << 20))
DEFLATED = zlib.compress(bytes(200 << 20))
ENDLESS = b"x" * 65536

ANYWHERE: dict[str, Answer] = {
    "no protocol": raw(b"\x00\xff" * 500),
    "an endless status line": raw(b"HTTP/1.1 200 " + ENDLESS * 4),
    "an endless header": raw(OK, b"X-A: " + ENDLESS, again=40),
    "ten thousand headers": raw(OK + b"X-A: b\r\n" * 10_000 + b"\r\n"),
    "headers that drip": raw(OK, b"X-A: b\r\n", pause=0.1, again=100),
    "to be continued": raw(b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.02, again=500),
    "a length that is no number": raw(OK + b"Content-Length: many\r\n\r\nabc"),
    "a negative length": raw(OK + b"Content-Length: -5\r\n\r\nabc"),
    "a huge length": raw(OK + b"Content-Length: 999999999999999\r\n\r\nabc"),
    "two lengths": raw(OK + b"Content-Length: 3\r\nContent-Length: 900\r\n\r\nabc"),
    "damaged chunks": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
    "a negative chunk": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n"),
    "a huge chunk": raw(OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nabc"),
    "an endless chunk size": raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", ENDLESS, again=40),
    "busy for ever": raw(b"HTTP/1.1 503 Busy\r\n\r\n", ENDLESS, again=3000),
    "an endless redirect": raw(b"HTTP/1.1 302 To\r\nLocation: /a\r\n\r\n", ENDLESS, again=3000),
    "a redirect in a damaged gzip": raw(
        b"HTTP/1.1 302 To\r\nLocation: /a\r\nContent-Encoding: gzip\r\n\r\n", ENDLESS, again=3000
    ),
    "not gzip": lambda a: a.reply(b"abc" * 99, JSON, Content_Encoding="gzip"),
    "many encodings": lambda a: a.reply(b"abc", JSON, Content_Encoding=", ".join(["gzip"] * 99)),
    "to a file": lambda a: a.reply(b"", JSON, 302, Location="file:///etc/passwd"),
    "to another host": lambda a: a.reply(b"", JSON, 302, Location="http://127.0.0.2:9/x"),
    "to another host without a scheme": lambda a: a.reply(b"", JSON, 307, Location="//127.0.0.2/"),
    "to a port that is none": lambda a: a.reply(b"", JSON, 302, Location="http://h:99999/"),
    "to nowhere": lambda a: a.reply(b"", JSON, 302, Location="http://[::1"),
    "to a user": lambda a: a.reply(b"", JSON, 302, Location="http://a:b@127.0.0.2/"),
    "in a circle": lambda a: a.reply(b"", JSON, 302, Location="/b"),
    "a kind of thousands": lambda a: a.reply(b"{}", "application/" + "x" * 5000),
    "nothing": lambda a: a.reply(b"", JSON),
}

LIMITS: dict[str, Any] = {"timeout": 0.5, "max_seconds": 1.5, "max_bytes": 8 << 20}


def all_kinds(server: Server) -> Iterator[str]:
    yield f"{server.url}/scan.nii.gz"
    yield f"{server.url}/dicom-web/studies/1.2.3"
    yield f"{server.url}/dicom-web/studies/1.2.3/series/1.2/instances/1.4"
    yield f"fhir+{server.url}/fhir?patient=p"


@pytest.mark.parametrize("name", ANYWHERE)
def test_whatever_answers_it_is_one_of_our_errors(name: str) -> None:
    with serving(ANYWHERE[name]) as server:
        for url in all_kinds(server):
            with little(), pytest.raises(OslerError) as raised:
                osler.load(url, **LIMITS)
            assert "passwd" not in str(raised.value)
            assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", BOMB), ("deflate", DEFLATED), ("gzip, gzip", BOMB)]
)
def test_what_inflates_without_end_is_cut_off(encoding: str, body: bytes) -> None:
    if "," in encoding:
        body = gzip.compress(body)
    for kind in (JSON, FHIR, DICOM, "application/octet-stream"):

        def answer(asked: Asked, kind: str = kind) -> None:
            asked.reply(body, kind, Content_Encoding=encoding)

        with serving(answer) as server:
            for url in all_kinds(server):
                with little(), pytest.raises((TooLargeError, UnreadableError)):
                    osler.load(url, **LIMITS)


def person(answer: Answer) -> Answer:
    """A FHIR server that has the patient, and answers badly about all else."""

    def both(asked: Asked) -> None:
        if "/Patient/" in asked.path:
            asked.reply(b'{"resourceType": "Patient", "id": "p"}', FHIR)
        else:
            answer(asked)

    return both


NESTED: dict[str, bytes] = {
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "shallow lists": b"[" + b"[]," * 12_100_000 + b"1]",
    "a number": b"[" + b"9" * 100_000 + b"]",
    "no text": b"\xff\xfe\x00" * 100,
    "a mark": b"\xef\xbb\xbf[1]",
    "not a number": b"[NaN, Infinity, 1e999]",
}


@pytest.mark.parametrize("name", NESTED)
def test_json_of_any_shape(name: str) -> None:
    limits = LIMITS | {"max_bytes": 64 << 20, "max_seconds": 20}
    for kind, url in ((JSON, "{}/dicom-web/studies/1.2.3"), (FHIR, "fhir+{}/fhir?patient=p")):
        with (
            serving(person(lambda a, kind=kind: a.reply(NESTED[name], kind))) as server,
            pytest.raises(OslerError),
        ):
            osler.load(url.format(server.url), **limits)


def test_values_without_end_take_no_memory() -> None:
    body = NESTED["shallow lists"]
    tracemalloc.start()
    try:
        with (
            serving(lambda a: a.reply(body, JSON)) as server,
            pytest.raises(TooLargeError, match="values"),
        ):
            osler.load(f"{server.url}/dicom-web/studies/1.2.3")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
    finally:
        tracemalloc.stop()


def test_pages_without_end_end() -> None:
    entries = [{"resource": {"resourceType": "Observation", "subject": {"reference": "Patient/p"}}}]

    def answer(asked: Asked) -> None:
        page = len(asked.server.requests)
        body = {
            "resourceType": "Bundle", "entry": entries * 2000,
            "link": [{"relation": "next", "url": f"/fhir/Observation?page={page}"}],
        }  # fmt: skip
        asked.reply(json.dumps(body).encode(), FHIR)

    with serving(person(answer)) as server, pytest.raises(TooLargeError, match="about one patient"):
        osler.load(f"fhir+{server.url}/fhir?patient=p", max_bytes=2 << 20)


def test_a_search_that_finds_for_ever_ends_at_its_limit() -> None:
    def answer(asked: Asked) -> None:
        number = len(asked.server.requests)
        found = [{"0020000D": {"vr": "UI", "Value": [f"1.{number}.{i}"]}} for i in range(100)]
        asked.reply(json.dumps(found).encode(), JSON)

    with serving(answer) as server:
        assert len(osler.io.search(f"{server.url}/dicom-web", limit=1000)) == 1000
        assert len(server.requests) == 10


def parts(body: bytes) -> bytes:
    return b"--b\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n--b--\r\n"


MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'
WRONG: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "another boundary": ("multipart/related; boundary=c", parts),
    "no boundary": ("multipart/related", parts),
    "an empty boundary": ('multipart/related; boundary=""', parts),
    "a boundary of thousands": ("multipart/related; boundary=" + "b" * 3000, parts),
    "no end": (MULTIPART, lambda b: parts(b)[:-9]),
    "two parts": (MULTIPART, lambda b: parts(b)[:-4] + b"\r\nA: b\r\n\r\n" + b + b"\r\n--b--"),
    "an empty part": (MULTIPART, lambda _: parts(b"")),
    "boundaries alone": (MULTIPART, lambda _: b"--b" * 1000),
    "no part": (MULTIPART, lambda _: b"--b--\r\n"),
    "headers without end": (MULTIPART, lambda b: b"--b\r\n" + b"A: b\r\n" * 20_000 + b),
    "half an instance": (MULTIPART, lambda b: parts(b[: len(b) // 2])),
    "not said to be parts": (DICOM, parts),
    "JSON": (JSON, lambda _: b"[]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_multipart_answer_of_any_shape(name: str) -> None:
    one = series()[0]
    kind, made = WRONG[name]
    url = (
        f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}"
    )
    with (
        serving(lambda a: a.reply(made(as_bytes(one)), kind)) as server,
        little(),
        pytest.raises(InputError),
    ):
        osler.load(server.url + url, **LIMITS)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(max_examples=60)
@given(data=st.data())
def test_any_header_in_json(data: st.DataObject) -> None:
    headers = [one.to_json_dict() for one in series()]
    for header in headers:
        header.pop("7FE00010", None)
    at = data.draw(st.integers(0, len(headers) - 1))
    tag = data.draw(st.sampled_from(sorted(headers[at])))
    value = data.draw(ANY)
    whole = data.draw(st.booleans())
    headers[at][tag] = value if whole else {"vr": headers[at][tag]["vr"], "Value": value}
    body = json.dumps(headers).encode()

    def answer(asked: Asked) -> None:
        asked.reply(body, JSON) if asked.path.endswith("/metadata") else asked.reply(b"", DICOM)

    with serving(answer) as server, pytest.raises(OslerError):
        osler.load(f"{server.url}/dicom-web/studies/{series()[0].StudyInstanceUID}", timeout=5)


@settings(max_examples=60)
@given(data=st.data())
def test_any_resource_about_a_patient(data: st.DataObject) -> None:
    resource: dict[str, Any] = {
        "resourceType": data.draw(
            st.sampled_from(["Observation", "DiagnosticReport", "ImagingStudy"])
        ),
        "id": "1", "status": "final", "subject": {"reference": "Patient/p"}, "code": {"text": "a"},
        "valueQuantity": {"value": 1, "unit": "mmHg"},
        "identifier": [{"system": "s", "value": "v"}],
        "modality": [{"code": "CT"}], "started": "2026-01-03", "conclusion": "none",
        "contained": [{"resourceType": "Endpoint", "address": "https://h/"}], "numberOfSeries": 2,
    }  # fmt: skip
    resource[data.draw(st.sampled_from(sorted(resource)))] = data.draw(ANY)
    body: Any = {"resourceType": "Bundle", "entry": [{"resource": resource}]}
    if data.draw(st.booleans()):
        body[data.draw(st.sampled_from(["entry", "link", "resourceType"]))] = data.draw(ANY)
    words = json.dumps(body).encode()
    with serving(person(lambda a: a.reply(words, FHIR))) as server, suppress(OslerError):
        osler.load(f"fhir+{server.url}/fhir?patient=p", timeout=5)


@settings(max_examples=60)
@given(
    cut=st.integers(0, 400),
    at=st.integers(0, 300),
    other=st.binary(max_size=6),
    kind=st.sampled_from([MULTIPART, DICOM, "multipart/related; boundary=bb"]),
)
def test_any_bytes_in_a_multipart_answer(cut: int, at: int, other: bytes, kind: str) -> None:
    one = series()[0]
    body = parts(as_bytes(one))
    body = body[:at] + other + body[at + len(other) :]
    body = body[: len(body) - cut]
    url = (
        f"/dicom-web/studies/{one.StudyInstanceUID}/series/{one.SeriesInstanceUID}"
        f"/instances/{one.SOPInstanceUID}"
    )
    with serving(lambda a: a.reply(body, kind)) as server, suppress(OslerError):
        osler.load(server.url + url, timeout=5)
