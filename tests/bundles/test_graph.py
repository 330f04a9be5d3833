import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from osler.bundles.graph import _LAYOUT, MalformedError, walk


def subgraph_model(domain: str) -> bytes:
    """A node of some domain, hidden in a branch of a branch of an If."""
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    inner = helper.make_graph([helper.make_node("Odd", [], ["y"], domain=domain)], "b", [], out)
    for depth in range(3):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], f"g{depth}", [], out)
    return helper.make_model(inner).SerializeToString()


def oracle(model: onnx.ModelProto) -> tuple[set[tuple[str, str]], set[str]]:
    """Operators and domains by the onnx package, recursively."""
    operators = set()

    def visit(nodes: object) -> None:
        for node in nodes:  # type: ignore[attr-defined]
            operators.add((node.domain, node.op_type))
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    visit(graph.node)

    visit(model.graph.node)
    for function in model.functions:
        visit(function.node)
    return operators, {one.domain for one in model.opset_import}


def test_operators_and_domains_are_those_of_the_onnx_package(
    tiny_model: Callable[..., onnx.ModelProto],
) -> None:
    for content in (tiny_model().SerializeToString(), subgraph_model("evil")):
        model = onnx.load_from_string(content)
        seen = walk(content)
        assert (seen.operators, seen.domains) == oracle(model)
        assert seen.has_graph
        assert not seen.external


def test_functions_are_walked() -> None:
    body = helper.make_node("Evil", ["x"], ["y"], domain="evil")
    function = helper.make_function(
        "mine", "F", ["x"], ["y"], [body], [helper.make_opsetid("evil", 1)]
    )
    graph = helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="mine")], "g", [], [])
    seen = walk(helper.make_model(graph, functions=[function]).SerializeToString())
    assert {("evil", "Evil"), ("mine", "F")} <= seen.operators
    assert seen.functions == {("mine", "F")}
    assert "evil" in seen.domains


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    return tensor


def test_external_data_is_seen_in_every_place() -> None:
    tensor = external(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    sparse = onnx.SparseTensorProto(values=tensor, indices=tensor, dims=[3])
    places = [
        helper.make_graph([], "g", [], [], [tensor]),
        helper.make_graph([helper.make_node("Constant", [], ["y"], value=tensor)], "g", [], []),
        helper.make_graph([], "g", [], [], sparse_initializer=[sparse]),
        helper.make_graph(
            [helper.make_node("Constant", [], ["y"], sparse_value=sparse)], "g", [], []
        ),
    ]
    for graph in places:
        assert "../secret" in walk(helper.make_model(graph).SerializeToString()).external


def test_a_location_flag_alone_counts() -> None:
    tensor = TensorProto(name="w", data_location=TensorProto.EXTERNAL)
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    assert walk(model.SerializeToString()).external


def test_a_domain_said_twice_counts_twice() -> None:
    # a parser keeps the last; which one the runtime's keeps must not matter here
    node = b"\x22\x01F" + b"\x3a\x04evil" + b"\x3a\x00"
    graph = b"\x0a" + bytes([len(node)]) + node
    seen = walk(b"\x3a" + bytes([len(graph)]) + graph)
    assert seen.operators == {("evil", "F"), ("", "F")}


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a\x05ab",  # ends beyond its message
        b"\x3a",  # no length
        b"\x08\x80",  # cut number
        b"\x08" + b"\x80" * 11,  # endless number
        b"\x00\x00",  # field number 0
        b"\x0b",  # group
        b"\x0f",  # wire type 7
        b"\xff\xff\xff\xff\xff\x01",  # tag beyond 32 bits
        b"\x09\x00",  # cut fixed64
        b"\x42\x03\x0a\x01\xff",  # domain that is not UTF-8
    ],
)
def test_broken_wire_format_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedError):
        walk(content)


def test_endless_nesting_is_refused() -> None:
    content = b""
    for _ in range(60):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # attribute.g, node.attribute, graph.node
            size, length = len(content), b""
            while size > 0x7F:
                length += bytes([size & 0x7F | 0x80])
                size >>= 7
            content = tag + length + bytes([size]) + content
    with pytest.raises(MalformedError, match="deep"):
        walk(b"\x3a" + _length(content) + content)


def _length(content: bytes) -> bytes:
    size, out = len(content), b""
    while size > 0x7F:
        out += bytes([size & 0x7F | 0x80])
        size >>= 7
    return out + bytes([size])


PROTO = {
    "model": onnx.ModelProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "tensor": onnx.TensorProto,
    "sparse": onnx.SparseTensorProto,
    "opset": onnx.OperatorSetIdProto,
    "training": onnx.TrainingInfoProto,
    "function": onnx.FunctionProto,
}
KINDS = {proto.DESCRIPTOR.full_name: kind for kind, proto in PROTO.items()}


def test_the_walker_enters_every_field_that_the_onnx_package_has() -> None:
    """Whatever can hold an operator, a tensor or an import is walked, at its own number."""
    for kind, proto in PROTO.items():
        for field in proto.DESCRIPTOR.fields:
            inside = KINDS.get(field.message_type.full_name) if field.message_type else None
            if inside is not None:
                assert _LAYOUT[kind].get(field.number) == inside, (kind, field.name)
            elif field.message_type:
                # nothing that matters lies deeper in what is skipped
                below = {f.message_type.full_name for f in walked_below(field.message_type)}
                assert not below & set(KINDS), (kind, field.name)
    texts = {("node", "op_type"), ("node", "domain"), ("opset", "domain")}
    texts |= {("function", "name"), ("function", "domain"), ("tensor", "data_location")}
    for kind, name in texts:
        number = PROTO[kind].DESCRIPTOR.fields_by_name[name].number
        assert _LAYOUT[kind][number].startswith("#")
    assert _LAYOUT["tensor"][TensorProto.DESCRIPTOR.fields_by_name["external_data"].number]


def walked_below(message: Any, seen: frozenset[str] = frozenset()) -> list[Any]:
    if message.full_name in seen:
        return []
    fields = [field for field in message.fields if field.message_type]
    deeper = [walked_below(f.message_type, seen | {message.full_name}) for f in fields]
    return fields + [one for many in deeper for one in many]


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_are_walked_or_refused(content: bytes) -> None:
    with contextlib.suppress(MalformedError):
        walk(content)


@settings(max_examples=200)
@given(st.data())
def test_what_onnx_parses_after_damage_the_walker_sees(data: st.DataObject) -> None:
    """Flip bytes of a model: whatever the onnx package still parses, the walker sees or refuses."""
    content = bytearray(subgraph_model("evil"))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = onnx.load_from_string(bytes(content))
    except DecodeError:
        return
    try:
        seen = walk(bytes(content))
    except MalformedError:
        return
    operators, domains = oracle(model)
    assert operators <= seen.operators
    assert domains <= seen.domains
