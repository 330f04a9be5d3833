"""A real PACS for tests: Debian's Orthanc with DICOMweb, on loopback alone."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path("/usr/share/orthanc/plugins")
USER, PASSWORD = "osler", "a secret of the tests"


@dataclass(frozen=True)
class Orthanc:
    """A running PACS."""

    url: str
    port: int
    user: str = USER
    password: str = PASSWORD

    @property
    def access(self) -> dict[str, str]:
        return {"user": self.user, "password": self.password}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start one in an empty folder, and stop it by its process id."""
    for program, package in (("Orthanc", "orthanc"), ("cc", "gcc libc6-dev")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: {package})")
    if not (PLUGINS / "libOrthancDicomWeb.so").exists():
        pytest.skip("Orthanc's DICOMweb is not installed (Debian: orthanc-dicomweb)")
    shim = folder / "loopback_only.so"
    source = Path(__file__).with_name("loopback_only.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    port = free_port()
    plugins = [PLUGINS / name for name in ("libOrthancDicomWeb.so", "libOrthancGdcm.so")]
    config: dict[str, Any] = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(path) for path in plugins if path.exists()],
        "DicomWeb": {
            "Enable": True, "Root": "/dicom-web/", "Ssl": False, "Host": f"127.0.0.1:{port}",
            "StudiesMetadata": "Full", "SeriesMetadata": "Full",
        },
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(config), "utf-8")
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            ["Orthanc", str(folder / "orthanc.json")],
            stdout=log,
            stderr=log,
            env={**os.environ, "LD_PRELOAD": str(shim)},
        )
    try:
        _wait(server, port)
        _refuse_open(port)
        yield Orthanc(f"http://127.0.0.1:{port}/dicom-web", port)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(20)


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    secret = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/system")
    request.add_header("Authorization", f"Basic {secret}")
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "Orthanc did not start"
            time.sleep(0.1)
    raise AssertionError("Orthanc does not answer")


def _refuse_open(port: int) -> None:
    """Nobody but this machine may reach it."""
    for table, anywhere in (("tcp", "00000000"), ("tcp6", "0" * 32)):
        listing = Path(f"/proc/net/{table}")
        if listing.exists():
            assert f" {anywhere}:{port:04X} " not in listing.read_text()
