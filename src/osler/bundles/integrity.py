"""A bundle is checked before it is used, and never runs code.

Refused: a wrong digest or size; a path or link that leaves the bundle; a file of a kind that can
hold code; a pickle in any disguise (plain, or zipped as ``torch.save`` writes it); an ONNX model
with operators of an unknown domain, with weights in another file, or in a form that hides its
operators; a model of more than 2 GB. What was checked is what is used: files are read once, and the
bytes that were hashed are the bytes that are returned.
"""

import hashlib
import json
import os
import pickletools
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from osler.bundles.card import CARD_FILE, Card, File
from osler.bundles.graph import MalformedError, walk
from osler.bundles.parsing import CARD_BYTES_MAX, parse
from osler.errors import BundleError

MODEL_BYTES_MAX = 2 * 10**9
_SNIFFED_BYTES = 1 << 20

# standard operators, tree ensembles, and nothing else: other domains are code of their own
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
# of ONNX Runtime's own operators only the arithmetic of quantised models; others (EPContext, say)
# can name files and libraries
QUANTISED_OPERATORS = frozenset(
    {
        "DequantizeLinear",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearConv",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearReduceMean",
        "QLinearSigmoid",
        "QLinearSoftmax",
        "QLinearWhere",
        "QuantizeLinear",
    }
)
_QUANTISED_DOMAIN = "com.microsoft"
# ONNX Runtime's tools import these into every model that they optimise or quantise; an import
# does nothing, and a node of such a domain is refused all the same
_TOOL_IMPORTS = frozenset(
    {
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.experimental",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
        "org.pytorch.aten",
    }
)
# a function of the model's own must not borrow a name that the runtime itself may answer to
_RESERVED_PREFIXES = ("ai.onnx", "com.microsoft", "com.ms", "org.pytorch")
_TEXT_SUFFIXES = frozenset({".md", ".txt", ".csv", ".yaml"})
_PICKLE_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".pt", ".pth", ".ckpt", ".dill"})
SUFFIXES = _TEXT_SUFFIXES | {".onnx", ".safetensors", ".json"}

_PICKLE_ACTIONS = frozenset(
    {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
    | {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
)


def read_card(folder: Path) -> Card:
    """Read and check ``card.json`` of a bundle's folder.

    Raises:
        BundleError: there is no readable card, or it is damaged, wrong or of a later version.
    """
    if not folder.is_dir():
        raise BundleError(f"{folder}: not a folder; a bundle is a folder with a {CARD_FILE}")
    content = _content(folder, CARD_FILE, limit=CARD_BYTES_MAX)
    return parse(content, where=str(folder / CARD_FILE))


def verify(folder: Path, card: Card) -> None:
    """Check every file of a bundle.

    Args:
        folder: the bundle's folder.
        card: its card, from `read_card`.

    Raises:
        BundleError: a file is missing, changed, unsafe or not what its name says.
    """
    for name in card.files:
        content = read_file(folder, card, name)
        _check_kind(content, str(folder / name), PurePosixPath(name).suffix.lower())
    _refuse_hidden_pickles(folder, card.files)


def read_file(folder: Path, card: Card, name: str) -> bytes:
    """The content of one listed file, whose digest and size are as the card says.

    Args:
        folder: the bundle's folder.
        card: its card.
        name: path of the file as the card lists it.

    Raises:
        BundleError: the file is not listed, missing, changed, or lies outside the bundle.
    """
    expected = card.files.get(name)
    if expected is None:
        raise BundleError(f"{folder / name}: not listed in the card of bundle '{card.name}'")
    if expected.bytes > MODEL_BYTES_MAX:
        raise BundleError(
            f"{folder / name}: the card says {expected.bytes} bytes, the limit is "
            f"{MODEL_BYTES_MAX}; split or quantise the model"
        )
    content = _content(folder, name, limit=expected.bytes)
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != expected.bytes or digest != expected.sha256:
        raise BundleError(
            f"{folder / name}: changed since bundle '{card.name}' {card.version} was written "
            f"({len(content)} bytes with sha256 {digest[:12]}…, the card says {expected.bytes} "
            f"bytes with {expected.sha256[:12]}…); get the bundle again"
        )
    return content


def digest(content: bytes) -> File:
    """What a card says about a file with this content."""
    return File(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def check_model(content: bytes, where: str) -> None:
    """Refuse an ONNX model that could do more than arithmetic on its inputs.

    Args:
        content: the bytes of the model.
        where: the path that error messages name.

    Raises:
        BundleError: it is not ONNX, uses operators outside the known domains, or keeps weights
            in another file.
    """
    if content[4:8] == b"ORTM":
        raise BundleError(f"{where}: in ONNX Runtime's own format; export it as plain ONNX")
    try:
        graph = walk(content)
    except MalformedError as error:
        raise BundleError(f"{where}: not an ONNX model ({error}); get the bundle again") from error
    if not graph.has_graph or not graph.domains:
        raise BundleError(f"{where}: an ONNX model without a graph or operator set; export it anew")
    if graph.external:
        place = next((value for value in graph.external if value), "another file")
        raise BundleError(
            f"{where}: keeps weights outside itself ({_shown(place)}); save them inside the model "
            "(onnx.save with save_as_external_data=False)"
        )
    own = {
        (domain, name)
        for domain, name in graph.functions
        if domain and not domain.startswith(_RESERVED_PREFIXES)
    }
    own_domains = {domain for domain, _ in own}
    for domain in sorted(graph.domains - DOMAINS - own_domains - _TOOL_IMPORTS):
        raise BundleError(
            f"{where}: imports operators of the domain {_shown(domain)}, which can run any code; "
            "export it with standard ONNX operators, and drop imports that no node uses"
        )
    for domain, operator in sorted(graph.operators - own):
        if domain in DOMAINS or (domain == _QUANTISED_DOMAIN and operator in QUANTISED_OPERATORS):
            continue
        raise BundleError(
            f"{where}: uses the operator {_shown(f'{domain}::{operator}')}, which is neither "
            "standard ONNX nor plain quantised arithmetic; export it with standard operators"
        )


def is_pickle(content: bytes) -> bool:
    """Whether bytes hold a pickle: plain of any protocol, or zipped as ``torch.save`` writes it.

    A zip archive of any content counts as one. Nothing is unpickled: the opcodes are listed, as
    ``pickletools`` does.
    """
    if content[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return True
    if content[:1] == b"\x80" and content[1:2] <= b"\x05":
        return True
    return _is_text_pickle(content)


def _is_text_pickle(content: bytes) -> bool:
    """Protocols 0 and 1 have no signature: the opcodes must read through to the last byte."""
    if len(content) > _SNIFFED_BYTES or not content[-64:].rstrip().endswith(b"."):
        return False
    body = content.rstrip()
    acts = False
    try:
        for opcode, _, position in pickletools.genops(body):
            acts |= opcode.name in _PICKLE_ACTIONS
            if opcode.name == "STOP":
                return acts and position == len(body) - 1
    except Exception:  # noqa: BLE001  # genops raises whatever the bytes provoke: then no pickle
        return False
    return False


def _check_kind(content: bytes, where: str, suffix: str) -> None:
    if is_pickle(content):
        raise BundleError(
            f"{where}: holds a pickle or a zip archive, which runs code when it is opened; "
            "export the model to ONNX or safetensors"
        )
    if suffix == ".onnx":
        check_model(content, where)
    elif suffix == ".safetensors":
        _check_safetensors(content, where)
    elif suffix == ".json":
        _check_json(content, where)
    elif suffix in _TEXT_SUFFIXES:
        _check_text(content, where)
    else:
        raise BundleError(
            f"{where}: files of this kind are not read; a bundle holds "
            f"{', '.join(sorted(SUFFIXES))}"
        )


def _check_safetensors(content: bytes, where: str) -> None:
    """The header is a little-endian 8-byte length and that many bytes of JSON."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise BundleError(f"{where}: not a safetensors file; get the bundle again")
    _check_json(content[8 : 8 + size], where)


def _check_json(content: bytes, where: str) -> None:
    try:
        json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON ({error}); get the bundle again") from error


def _check_text(content: bytes, where: str) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not UTF-8 text; get the bundle again") from error


def _refuse_hidden_pickles(folder: Path, listed: Mapping[str, File]) -> None:
    """Unlisted files are never read by Osler, but a pickle among them is a trap for others."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        for name in (*folders, *names):
            path = Path(parent, name)
            inside = path.relative_to(folder).as_posix()
            if path.is_symlink() and not _lies_inside(path, folder):
                raise BundleError(f"{path}: links outside the bundle; remove the link")
            if name in folders or inside in listed or not path.is_file():
                continue
            if path.suffix.lower() in _PICKLE_SUFFIXES or is_pickle(_head(path)):
                raise BundleError(
                    f"{path}: a pickle or zip archive that the card does not list; remove it"
                )


def _lies_inside(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, is in the folder; a loop of links is nowhere."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_SNIFFED_BYTES)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


def _content(folder: Path, name: str, *, limit: int) -> bytes:
    """Read a regular file inside a folder, at most one byte more than ``limit``."""
    path = folder / name
    if not _lies_inside(path, folder):
        raise BundleError(f"{path}: lies outside the bundle; copy it into {folder}")
    try:
        # without O_NONBLOCK a named pipe would wait for ever
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise BundleError(f"{path}: not a regular file; get the bundle again")
            return stream.read(limit + 1)
    except FileNotFoundError as error:
        inner = path.parent / "bundle"
        raise BundleError(
            f"{path}: missing; a bundle is a folder with a {CARD_FILE} and the files it lists"
            + (f"; '{inner}' is one" if (inner / CARD_FILE).is_file() else "")
        ) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


_BINARY: int = getattr(os, "O_BINARY", 0)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")
