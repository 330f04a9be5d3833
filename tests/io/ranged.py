"""Answers as a web server that gives parts of files does (RFC 9110, 14), and counts the bytes."""

import re
from collections.abc import Callable

from web_server import Asked


class Files:
    """Files by path; ``sent`` is how many bytes of content went out."""

    def __init__(self, files: dict[str, bytes], *, version: Callable[[], str] = lambda: '"1"'):
        self.files, self.sent, self.version = files, 0, version

    def __call__(self, asked: Asked) -> None:
        data = self.files.get(asked.path.partition("?")[0])
        if data is None:
            asked.reply(b"", "text/plain", 404)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("Range", ""))
        same = asked.headers.get("If-Range", self.version()) == self.version()
        if wanted is None or not same:
            self.sent += len(data)
            asked.reply(data, "application/octet-stream")
            return
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        if start >= len(data):
            asked.reply(b"", "text/plain", 416, Content_Range=f"bytes */{len(data)}")
            return
        self.sent += stop - start
        asked.reply(
            data[start:stop],
            "application/octet-stream",
            206,
            Content_Range=f"bytes {start}-{stop - 1}/{len(data)}",
            ETag=self.version(),
        )
