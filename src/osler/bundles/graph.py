"""What an ONNX file asks for, read from its bytes without the onnx package and without running it.

The walker knows only protobuf's wire format [1]_ and the numbers of those few fields of
``onnx.proto`` [2]_ that can name an operator, a domain or another file. Everything else is skipped
by its length, so weights cost nothing. It never merges or interprets messages: each occurrence of
a field counts, which sees at least what a real parser would see.

    ModelProto ─ 7 graph ─┬─ 1 node ─┬─ 4 op_type, 7 domain
               │          │          └─ 5 attribute ─ 5/10 tensors, 6/11 graphs, 22/23 sparse
               │          ├─ 5 initializer ─ 13 external_data, 14 data_location
               │          └─ 15 sparse_initializer ─ 1 values, 2 indices
               ├─ 8 opset_import ─ 1 domain
               ├─ 20 training_info ─ 1/2 graphs
               └─ 25 functions ─ 1 name, 10 domain, 7 node, 9 opset_import, 11 attribute_proto

References:
    .. [1] Protocol Buffers, "Encoding", https://protobuf.dev/programming-guides/encoding/
    .. [2] ONNX, ``onnx/onnx.proto``, IR version 13, https://github.com/onnx/onnx
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_TAG_BYTES_MAX = 5
_DEPTH_MAX = 96
_FLOATS = {1: ("<f4", 4), 10: ("<f2", 2)}  # TensorProto.DataType to dtype and bytes

# message → field number → (kind, what lies there); a text is kept, a message is walked
_LAYOUT: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {4: "#op_type", 5: "attribute", 7: "#domain"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "tensor": {13: "external", 14: "#location"},
    "external": {1: "#key", 2: "#value"},
    "sparse": {1: "tensor", 2: "tensor"},
    "opset": {1: "#domain"},
    "training": {1: "graph", 2: "graph"},
    "function": {
        1: "#name",
        7: "node",
        9: "opset",
        10: "#domain",
        11: "attribute",
    },
}


class MalformedError(ValueError):
    """The bytes are not the wire format of an ONNX model."""


@dataclass(slots=True)
class Graph:
    """What an ONNX file asks for.

    Attributes:
        domains: the domains of its operator sets.
        operators: ``(domain, op_type)`` of every node, in subgraphs and functions too.
        functions: ``(domain, name)`` of the functions that the model defines by itself.
        external: the values of every external-data entry (location, offset, …); not empty where
            any tensor says that it lies in another file.
        has_graph: whether there is a graph at all.
    """

    domains: set[str] = field(default_factory=set)
    operators: set[tuple[str, str]] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    external: list[str] = field(default_factory=list)
    has_graph: bool = False


def walk(content: bytes) -> Graph:
    """Read what an ONNX file asks for.

    Args:
        content: a serialised ``onnx.ModelProto``.

    Raises:
        MalformedError: the bytes are truncated, nested more than 96 deep, hold a group (which
            ONNX never uses) or a text that is not UTF-8, or break the wire format otherwise.
    """
    out = Graph()
    pending: list[tuple[str, int, int, int]] = [("model", 0, len(content), 0)]
    while pending:
        kind, start, stop, depth = pending.pop()
        if depth > _DEPTH_MAX:
            raise MalformedError(f"messages are nested more than {_DEPTH_MAX} deep")
        layout = _LAYOUT[kind]
        texts: dict[str, list[str]] = {}
        for number, wire, first, last in _fields(content, start, stop):
            inside = layout.get(number)
            if inside is None:
                continue
            if inside == "#location":
                if wire != _VARINT or _varint(content, first, last, _VARINT_BYTES_MAX)[0] != 0:
                    out.external.append("")
            elif wire != _BYTES:
                continue  # a parser takes a known number of another wire type for an unknown field
            elif inside.startswith("#"):
                texts.setdefault(inside, []).append(_text(content[first:last]))
            else:
                out.has_graph |= kind == "model" and inside == "graph"
                pending.append((inside, first, last, depth + 1))
        _note(kind, texts, out)
    return out


@dataclass(frozen=True, slots=True)
class Weights:
    """Where one tensor of weights lies in an ONNX file.

    Attributes:
        dtype: ``"<f4"`` or ``"<f2"``: little-endian ``float32`` or ``float16``.
        shape: of the tensor.
        start: offset of its first byte.
        stop: offset behind its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def weights(content: bytes) -> list[Weights]:
    """Where the floating-point initializers of the main graph lie, in the order of the file.

    Those that hold their numbers otherwise than as raw bytes are left out.

    Raises:
        MalformedError: as for `walk`.
    """
    found = []
    for number, wire, first, last in _fields(content, 0, len(content)):
        if number != 7 or wire != _BYTES:
            continue
        for inner, kind, start, stop in _fields(content, first, last):
            if inner == 5 and kind == _BYTES:
                one = _floats(content, start, stop)
                if one is not None:
                    found.append(one)
    return found


def _floats(content: bytes, start: int, stop: int) -> Weights | None:
    """A TensorProto: 1 dims, 2 data_type (1 is float32, 10 float16), 9 raw_data."""
    shape: list[int] = []
    kind, raw = 0, None
    for number, wire, first, last in _fields(content, start, stop):
        if number == 1 and wire == _VARINT:
            shape.append(_varint(content, first, last, _VARINT_BYTES_MAX)[0])
        elif number == 1 and wire == _BYTES:
            at = first
            while at < last:
                size, at = _varint(content, at, last, _VARINT_BYTES_MAX)
                shape.append(size)
        elif number == 2 and wire == _VARINT:
            kind = _varint(content, first, last, _VARINT_BYTES_MAX)[0]
        elif number == 9 and wire == _BYTES:
            raw = (first, last)
    dtype, size = _FLOATS.get(kind, ("", 0))
    if not dtype or raw is None or raw[1] - raw[0] != size * prod(shape):
        return None
    return Weights(dtype, tuple(shape), *raw)


def _note(kind: str, texts: dict[str, list[str]], out: Graph) -> None:
    """Keep what the texts of one message say; every pairing counts where a text comes twice."""
    domains = texts.get("#domain", [""])
    if kind == "opset":
        out.domains.update(domains)
    elif kind == "node":
        out.operators.update((d, op) for d in domains for op in texts.get("#op_type", [""]))
    elif kind == "function" and len(domains) == 1 and len(texts.get("#name", [])) == 1:
        out.functions.add((domains[0], texts["#name"][0]))
    elif kind == "external":
        out.external.extend(texts.get("#value", [""]))


def _fields(content: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(number, wire type, first, last)`` of each field between two offsets."""
    at = start
    while at < stop:
        tag, at = _varint(content, at, stop, _TAG_BYTES_MAX)
        number, wire = tag >> 3, tag & 7
        if number == 0 or tag > 0xFFFFFFFF:
            raise MalformedError(f"byte {at}: a field has no valid number")
        first = at
        if wire == _VARINT:
            _, at = _varint(content, at, stop, _VARINT_BYTES_MAX)
        elif wire == _FIXED64:
            at += 8
        elif wire == _FIXED32:
            at += 4
        elif wire == _BYTES:
            size, first = _varint(content, at, stop, _TAG_BYTES_MAX)
            at = first + size
        else:
            raise MalformedError(f"byte {at}: wire type {wire}, which ONNX does not use")
        if at > stop:
            raise MalformedError(f"byte {first}: a field ends {at - stop} bytes beyond its message")
        yield number, wire, first, at


def _varint(content: bytes, at: int, stop: int, longest: int) -> tuple[int, int]:
    """Read a base-128 number; returns it and the offset behind it."""
    value = 0
    for index in range(longest):
        if at + index >= stop:
            raise MalformedError(f"byte {at}: a number is cut off")
        byte = content[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise MalformedError(f"byte {at}: a number has more than {longest} bytes")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError("a name is not UTF-8") from error
