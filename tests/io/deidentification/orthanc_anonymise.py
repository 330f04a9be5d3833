"""Have Orthanc anonymise a file; runs in a network namespace of its own, where nobody listens.

unshare --net python orthanc_anonymise.py FOLDER IN OUT
"""

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PORT = 18052


def ask(path: str, data: bytes | None = None) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}{path}", data)
    request.add_header("Authorization", "Basic " + base64.b64encode(b"a:b").decode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def main(folder: Path, source: Path, target: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    config: dict[str, Any] = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": PORT,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"a": "b"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config), "utf-8")
    server = subprocess.Popen(
        ["Orthanc", str(folder / "orthanc.json")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(100):
            try:
                ask("/system")
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        instance = json.loads(ask("/instances", source.read_bytes()))["ID"]
        wanted = json.dumps({"DicomVersion": "2021b"}).encode()
        target.write_bytes(ask(f"/instances/{instance}/anonymize", wanted))
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
