"""Files by URL: the same as from the disk, and one clear error for what is wrong."""

import gc
import hashlib
import logging
import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import nibabel
import numpy as np
import pytest
from web_server import Asked, serving

import osler
from osler.data.cohort import read_cohort
from osler.errors import InputError, TooLargeError, UnreadableError, UnsupportedError
from osler.io.web_address import address_of
from osler.record import Case

SECRET = "s3cret-pass"


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nii") / "scan.nii.gz"
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(array, np.diag([1.5, 2, 3, 1]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def one(url: str, **options: object) -> Case:
    case = osler.load(url, **options)
    assert isinstance(case, Case)
    return case


def test_a_volume_by_url_is_that_of_the_file(volume: Path) -> None:
    data = volume.read_bytes()
    with serving(lambda asked: asked.reply(data, "application/octet-stream")) as server:
        url = f"{server.url}/some/scan.nii.gz?signature=xyz"
        case = one(url)
    here = osler.load(volume)
    assert isinstance(here, Case)
    (name,) = here.items
    a, b = here[name], case[name]
    gc.collect()
    np.testing.assert_array_equal(a.array, b.array)  # the server is gone
    np.testing.assert_array_equal(a.affine, b.affine)
    assert case.id == "scan"
    assert b.origin.path == f"{server.url}/some/scan.nii.gz"
    assert b.origin.sha256 == hashlib.sha256(data).hexdigest()


def test_the_folder_goes_with_what_was_read_from_it(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = volume.read_bytes()
    with serving(lambda asked: asked.reply(data, "application/octet-stream")) as server:
        case = one(f"{server.url}/scan.nii.gz")
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        (item,) = case.items.values()
        del case
        gc.collect()
        assert folder.exists() or item.loaded
        del item
        gc.collect()
    assert not folder.exists()


def test_a_cell_of_a_cohort_may_be_a_url(volume: Path, tmp_path: Path) -> None:
    data = volume.read_bytes()
    with serving(lambda asked: asked.reply(data, "application/octet-stream")) as server:
        table = tmp_path / "cohort.csv"
        table.write_text(f"case_id,patient_id,mr\na,p,{server.url}/scan.nii.gz\n", "utf-8")
        (case,) = read_cohort(table).cases()
        assert case["mr"].array.shape == (1, 6, 5, 4)


def test_a_header_fetches_the_file_of_its_voxels(tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / "a.mhd"))

    def answer(asked: Asked) -> None:
        path = tmp_path / asked.path.lstrip("/")
        if path.is_file():
            asked.reply(path.read_bytes(), "application/octet-stream")
        else:
            asked.reply(b"", "text/plain", 404)

    with serving(answer) as server:
        case = one(f"{server.url}/a.mhd")
    (image,) = case.items.values()
    np.testing.assert_array_equal(image.array[0], array)


def endless(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Type", "application/octet-stream")
    asked.end_headers()
    for _ in range(10_000):
        asked.wfile.write(b"\0" * 65_536)


def dripping(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    for _ in range(40):
        asked.wfile.write(b"\0")
        time.sleep(0.05)


def silent(asked: Asked) -> None:
    time.sleep(1.5)


def cut_off(asked: Asked) -> None:
    asked.send_response(200)
    asked.send_header("Content-Length", "1000")
    asked.end_headers()
    asked.wfile.write(b"\0" * 10)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (endless, TooLargeError, "more than 1,000,000 bytes"),
        (dripping, InputError, "max_seconds"),
        (silent, InputError, "in time"),
        (cut_off, InputError, "breaks off"),
        (lambda a: a.reply(b"<html>", "text/html"), UnreadableError, "a page"),
        (lambda a: a.reply(b"", "text/plain", 401), InputError, "credentials"),
        (lambda a: a.reply(b"", "text/plain", 404), InputError, "does not exist"),
        (lambda a: a.reply(b"", "text/plain", 500), InputError, "status 500"),
        (lambda a: a.reply(b"", "image/png"), UnreadableError, "empty"),
        (lambda a: a.reply(b"nonsense", "image/png"), UnreadableError, "/scan.png' is named"),
    ],
)
def test_a_bad_answer_is_one_clear_error(answer: object, error: type, words: str) -> None:
    with serving(answer) as server, pytest.raises(error, match=words) as raised:  # type: ignore[arg-type]
        osler.load(
            f"{server.url}/scan.png?patient=Smith",
            max_bytes=1_000_000,
            timeout=0.5,
            max_seconds=0.3,
        )
    assert type(raised.value) is error
    assert "Smith" not in str(raised.value)
    assert "/tmp" not in str(raised.value)


def test_nobody_listening_is_said() -> None:
    with serving(lambda asked: None) as server:
        url = server.url
    with pytest.raises(InputError, match="cannot be reached"):
        osler.load(f"{url}/scan.png")


def test_a_redirect_to_another_host_is_refused_and_gets_no_secret() -> None:
    with serving(lambda a: a.reply(b"", "image/png")) as other:
        target = f"{other.url}/x.png"
        with (
            serving(lambda a: a.reply(b"", "text/plain", 302, Location=target)) as server,
            pytest.raises(InputError, match="was not named"),
        ):
            osler.load(f"{server.url}/x.png", token=SECRET)
        assert other.requests == []


def test_a_redirect_on_the_same_host_is_followed(volume: Path) -> None:
    data = volume.read_bytes()

    def answer(asked: Asked) -> None:
        if asked.path == "/x.nii.gz":
            asked.reply(data, "application/octet-stream")
        else:
            asked.reply(b"", "text/plain", 302, Location="/x.nii.gz")

    with serving(answer) as server:
        assert one(f"{server.url}/other").items


def test_credentials_go_to_their_host_only_and_into_no_log(
    volume: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    data = volume.read_bytes()
    monkeypatch.setenv("OSLER_WEB_TOKEN", SECRET)
    with serving(lambda a: a.reply(data, "application/octet-stream")) as server:
        url = f"{server.url}/scan.nii.gz?patient=Smith"
        one(url)
        assert "Authorization" not in server.requests[-1][2]  # nobody said whose they are
        monkeypatch.setenv("OSLER_WEB_HOST", "pacs.example")
        one(url)
        assert "Authorization" not in server.requests[-1][2]
        monkeypatch.setenv("OSLER_WEB_HOST", server.url.partition("//")[2])
        one(url)
        assert server.requests[-1][2]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in caplog.text
    assert "Smith" not in caplog.text


def test_an_unsteady_server_is_asked_again(volume: Path) -> None:
    data = volume.read_bytes()

    def answer(asked: Asked) -> None:
        if len(asked.server.requests) == 1:
            asked.reply(b"", "text/plain", 503)
        else:
            asked.reply(data, "application/octet-stream")

    with serving(answer) as server:
        assert one(f"{server.url}/scan.nii.gz").items
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("https://me:pw1@host/x.png", InputError, "password"),
        ("ftp://host/x.png", UnsupportedError, "ftp"),
        ("file:///etc/passwd", InputError, "host"),
        ("zip::https://host/x.zip", InputError, "zip"),
        ("https://host:99999/x.png", InputError, "damaged"),
        ("dicomweb+https://host/dicom-web", InputError, "study"),
        ("fhir+https://host/fhir", InputError, "patient"),
        ("fhir+https://host/fhir?patient=a/../b", InputError, "patient"),
        ("https://host/studies/" + "1" * 65, InputError, "64"),
    ],
)
def test_a_bad_url_is_refused_before_anybody_is_asked(url: str, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as raised:
        osler.load(url)
    assert "pw1" not in str(raised.value)


def test_credentials_do_not_travel_in_the_open() -> None:
    with pytest.raises(InputError, match="unencrypted"):
        osler.load("http://pacs.invalid/x.png", token=SECRET)


def test_what_urls_name() -> None:
    found = address_of("https://host:8042/a/dicom-web/studies/1.2/series/3.4/instances/5.6")
    assert (found.kind, found.base) == ("dicomweb", "https://host:8042/a/dicom-web")
    assert (found.study, found.series, found.instance) == ("1.2", "3.4", "5.6")
    for url in ("fhir+https://h/fhir?patient=p1", "fhir+https://h/fhir/Patient/p1"):
        found = address_of(url)
        assert (found.kind, found.base, found.patient) == ("fhir", "https://h/fhir", "p1")
    assert address_of("s3://bucket/key").kind == "store"


def test_a_proxy_of_the_environment_is_asked(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = volume.read_bytes()
    with serving(lambda a: a.reply(data, "application/octet-stream")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert one("http://files.example/scan.nii.gz").items
        assert proxy.requests[0][1] == "http://files.example/scan.nii.gz"


def certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 that nobody else has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_certificates_are_verified(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    data = volume.read_bytes()
    with serving(lambda a: a.reply(data, "application/octet-stream")) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        url = f"{server.url.replace('http:', 'https:')}/scan.nii.gz"
        with pytest.raises(InputError, match="REQUESTS_CA_BUNDLE"):
            osler.load(url)
        assert server.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
        assert one(url).items
