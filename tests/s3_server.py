"""An S3-compatible store for tests: moto's server, on loopback."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

from orthanc_server import free_port


@contextmanager
def s3_store() -> Iterator[str]:
    """The address of a store with one bucket, ``scans``."""
    port = free_port()
    program = "from moto.server import main; import sys; main(sys.argv[1:])"
    server = subprocess.Popen(
        [sys.executable, "-c", program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, "moto did not start"
                sleep(0.1)
        put(url, "/scans", b"")
        yield url
    finally:
        server.terminate()
        server.wait(20)


def put(url: str, path: str, data: bytes) -> None:
    request = urllib.request.Request(url + path, data, method="PUT")
    request.add_header("Content-Type", "application/octet-stream")
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/us-east-1/s3/aws4_request")
    with urllib.request.urlopen(request, timeout=20):
        pass
