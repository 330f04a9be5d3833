"""FHIR resources in XML as their JSON form, as far as readers of results need it.

XML does not say what repeats and what is a number; the names of elements do.

Sources: HL7 FHIR R4 4.0.1, 2.6.1 (XML) and 2.6.2 (JSON).
"""

import re
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

_REPEATED: Final = frozenset(("coding", "component", "contained", "entry", "presentedForm"))
"""Elements that are lists even where one stands alone, of those that are read."""
_QUANTITIES: Final = frozenset(("low", "high", "numerator", "denominator"))
_TAG: Final = re.compile(r"<(/?)(?:\w+:)?(\w+)|\sxmlns(?::\w+)?=\"[^\"]*\"")


def resource(element: Element) -> dict[str, Any]:
    """A resource by its element."""
    return {"resourceType": _name(element), **_fields(element)}


def _fields(element: Element) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for child in element:
        name = _name(child)
        if name in out and not isinstance(out[name], list):
            out[name] = [out[name]]
        value = _value(child, of=element)
        if name in out:
            out[name].append(value)
        else:
            out[name] = [value] if name in _REPEATED else value
    return out


def _value(element: Element, *, of: Element) -> Any:
    name, stated = _name(element), element.get("value")
    if name in ("resource", "contained"):
        return resource(element[0]) if len(element) else {}
    if name == "div":
        return _TAG.sub(lambda m: f"<{m[1]}{m[2]}" if m[2] else "", tostring(element, "unicode"))
    if stated is None:
        return _fields(element)
    parent = _name(of)
    if name == "value" and (parent in _QUANTITIES or parent.endswith("Quantity")):
        return _number(stated)
    if name == "valueInteger":
        return _number(stated)
    if name == "valueBoolean":
        return stated == "true"
    return stated


def _number(text: str) -> Any:
    """A number as JSON would have it; what is none stays text, and is then not taken for one."""
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text


def _name(element: Element) -> str:
    tag = element.tag if isinstance(element.tag, str) else ""
    return tag.rpartition("}")[2]
