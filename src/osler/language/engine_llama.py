"""A file in GGUF, run by llama.cpp in this process; nothing is fetched.

llama.cpp's own server stands behind its binding, and listens. It is given a socket in a folder
that no other user may enter, and a key that nobody is told, so no port is opened.
"""

import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import InputError, MissingExtraError, UnreadableError
from osler.language.engine import Engine, EngineError, Message

_MAGIC: Final = b"GGUF"
_CONTEXT: Final = 16_384  # tokens; less where the model was taught less


class LlamaEngine(Engine):
    """A model of one GGUF file.

    Args:
        where: the file.
        timeout: seconds that one answer may take; looked at after each token.

    Raises:
        InputError: it is no such file, or llama.cpp does not read it.
        MissingExtraError: llama.cpp is not installed.
    """

    def __init__(self, where: str | Path, *, timeout: float) -> None:
        file = Path(where)
        if not file.is_file():
            raise InputError(f"there is no file '{file}'")
        with file.open("rb") as opened:
            if opened.read(4) != _MAGIC:
                raise UnreadableError(f"'{file}' is no GGUF file, as llama.cpp reads them")
        if find_spec("xllamacpp") is None:
            raise MissingExtraError("xllamacpp", extra="llama", purpose="run a GGUF model")
        self._timeout = timeout
        self.name = file.stem
        self._folder = Path(tempfile.mkdtemp(prefix="osler-"))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._server = self._opened(file)

    def _opened(self, file: Path) -> Any:
        import xllamacpp  # type: ignore[import-untyped, import-not-found, unused-ignore]

        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx = _CONTEXT
        params.n_parallel = 1
        params.offline = True
        params.warmup = False
        params.verbosity = -1
        params.ui = params.endpoint_slots = params.endpoint_props = False
        params.api_keys = [secrets.token_urlsafe(24)]
        if os.name != "nt":
            params.hostnames = [str(self._folder / "llama.sock")]
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads) > 0:
            params.cpuparams.n_threads = int(threads)
        try:
            return xllamacpp.Server(params)
        except Exception as error:  # noqa: BLE001 - whatever llama.cpp makes of a wrong file
            raise UnreadableError(
                f"llama.cpp does not read '{file}' ({type(error).__name__})"
            ) from None

    def _write(
        self,
        messages: Sequence[Message],
        *,
        images: Sequence[NDArray[np.uint8]],
        limit: int,
        seed: int,
    ) -> str:
        asked = {
            "messages": [{"role": m.role, "content": m.text} for m in messages],
            "max_tokens": limit,
            "temperature": 0,
            "seed": seed,
            "stream": True,
        }
        words: list[str] = []
        failed: list[str] = []
        end = time.monotonic() + self._timeout

        def take(chunk: Any) -> bool:
            """Keep a piece; True stops."""
            for one in chunk if isinstance(chunk, list) else [chunk]:
                if isinstance(one, Mapping) and "choices" in one:
                    words.extend(
                        piece
                        for choice in one["choices"]
                        if (piece := choice.get("delta", {}).get("content"))
                    )
                elif isinstance(one, Mapping) and ("error" in one or "code" in one):
                    failed.append("error")
            return time.monotonic() > end

        try:
            self._server.handle_chat_completions(asked, take)
        except Exception as error:  # noqa: BLE001 - whatever llama.cpp raises
            raise EngineError(f"the engine '{self.name}' failed ({type(error).__name__})") from None
        if time.monotonic() > end:
            raise EngineError(
                f"the engine '{self.name}' has not answered within {self._timeout:g} seconds; "
                "allow it more time, or take a smaller model"
            )
        if failed:
            raise EngineError(
                f"the engine '{self.name}' refused; the words may be more than it takes"
            )
        return "".join(words)

    def close(self) -> None:
        """Free the weights."""
        self._server = None
        self._tidy()
