"""A cohort's fingerprint as one HTML page that needs nothing else, and as JSON.

Source: W3C Content Security Policy Level 3; the page has no script and asks for nothing.
"""

import base64
import hashlib
import io as buffers
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.data.duplicates import ALIKE, RADIUS, SAME, Pair
from osler.data.fingerprint import Column, Fingerprint
from osler.data.leaks import part_of
from osler.data.locations import Location
from osler.data.opening import load_case
from osler.data.outliers import FAR, Outlier
from osler.data.scanning import Scan
from osler.errors import OslerError, OutputError
from osler.record import Image

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PAIRS, _OUTLIERS, _SIDE = 24, 24, 224


def write_fingerprint(found: Fingerprint, out: Path) -> Path:
    """Write ``check.html`` and ``check.json``; gives the page.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _put(out / "check.json", text)
        _put(out / "check.html", page(found))
    except OSError as error:
        raise OutputError(f"'{out}' cannot be written: {error.strerror or error}") from error
    return out / "check.html"


def _put(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def page(found: Fingerprint) -> str:
    """The page as text."""
    import jinja2

    from osler import __version__

    room = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    room.filters |= {"number": _number, "summary": _summary}
    style = _style()
    faults = sum(w.level == "fault" for w in found.warnings)
    doubts = len(found.warnings) - faults
    pairs = _telling(found)[:_PAIRS]
    good = [s for s in found.scans if not s.error]
    return room.get_template("check.html.j2").render(
        found=found,
        title=found.cohort.path.name,
        policy=_policy(style),
        style=style,
        version=__version__,
        badge=_badge(faults, doubts),
        facts=_facts(found, good),
        parts=found.parts,
        balanced=[c for c in found.columns if c.kind == "label" and c.values],
        items=[c for c in found.columns if c.kind == "item" and c.spread],
        variables=[c for c in found.columns if c.kind == "variable"],
        pairs=[_pair(pair, found) for pair in pairs],
        more_pairs=len(found.leaks.pairs) > len(pairs),
        outliers=[_outlier(o, found.scans) for o in found.outliers[:_OUTLIERS]],
        more_outliers=len(found.outliers) > _OUTLIERS,
        unreadable=[(s.row.case_id, s.error) for s in found.scans if s.error][:200],
        readable=len(good),
        numbers_x=_bar_place,
        radius=RADIUS,
        alike=ALIKE,
        same=SAME,
        far=FAR,
        digest=hashlib.sha256("".join(s.digest for s in good).encode()).hexdigest(),
    )


def _style() -> str:
    from osler import io

    shared = Path(str(io.__file__)).parent / "templates" / "report.css"
    return "\n".join(p.read_text(encoding="utf-8") for p in (shared, _TEMPLATES / "check.css"))


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest}'"
    )


def _badge(faults: int, doubts: int) -> tuple[str, str]:
    if faults:
        return "reject", f"{faults} fault{'s' if faults > 1 else ''}"
    if doubts:
        return "usable", f"no fault, {doubts} doubt{'s' if doubts > 1 else ''}"
    return "good", "nothing to complain about"


def _facts(found: Fingerprint, good: Sequence[Scan]) -> list[tuple[str, str]]:
    facts = [
        ("cases", f"{len(found.cohort):,}"),
        ("patients", f"{found.cohort.patients():,}"),
        ("images", f"{len(good):,}"),
    ]
    named = [f"{name} {cases:,}" for name, (cases, _) in found.parts.items() if name]
    return [*facts, ("parts", " · ".join(named) or "none")]


def _number(value: float) -> str:
    """Three digits that tell, whole numbers whole."""
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _bar_place(bins: Sequence[int], shown: int) -> int:
    """Where the bar of the ``shown``-th step that is not empty begins."""
    return [k for k, n in enumerate(bins) if n][shown] * 10


def _summary(column: Column) -> str:
    said = []
    for key in ("kind", "axes", "type", "channels", "spacing"):
        counts = column.counts.get(key, {})
        words = {"channels": "channel(s): ", "spacing": "spacing "}.get(key, "")
        alone = len(counts) == 1
        said.append(
            words + ", ".join(v if alone else f"{v} ({n})" for v, n in sorted(counts.items()))
        )
    return "; ".join(text for text in said if text)


def _telling(found: Fingerprint) -> list[Pair]:
    """Pairs, those that spoil a test first."""
    leaks = found.leaks
    across, strangers = set(leaks.across), set(leaks.strangers)
    return sorted(leaks.pairs, key=lambda p: (p not in across, p not in strangers, -p.correlation))


def _pair(pair: Pair, found: Fingerprint) -> dict[str, Any]:
    two = [found.scans[k] for k in (pair.first, pair.second)]
    words = {"exact": "equal pixels", "same": "the same picture", "alike": "shows the same"}
    tags = [(words[pair.kind], False)]
    if pair.kind != "exact":
        tags.append((f"correlation {pair.correlation:.2f}", False))
    if pair.turn != "as it is":
        tags.append((pair.turn, False))
    if pair in found.leaks.across:
        tags.append(("in different parts", True))
    if pair in found.leaks.strangers:
        tags.append(("different patients", True))
    differ = {
        case
        for conflict in found.leaks.conflicts
        for case, _ in conflict.cases
        if {s.row.case_id for s in two} <= {c for c, _ in conflict.cases}
    }
    if differ:
        tags.append(("labels differ", True))
    lines = []
    for s in two:
        said = [part_of(s.row)]
        said += [f"{name} {value}" for name, value in s.row.labels.items() if len(value) < 20]
        lines.append((s.row.case_id, ", ".join(text for text in said if text)))
    return {"pictures": [picture(s) for s in two], "lines": lines, "tags": tags}


def _outlier(one: Outlier, scans: Sequence[Scan]) -> dict[str, str]:
    scan = scans[one.scan]
    side = "above" if one.z > 0 else "below"
    return {
        "picture": picture(scan),
        "case": scan.row.case_id,
        "words": f"{one.measure} {_number(one.value)}, {side} the usual {_number(one.median)}",
    }


def picture(scan: Scan) -> str:
    """A small picture of a scan as a data address: from its file, else from its thumbnail."""
    items: dict[str, Location] = dict(scan.row.items)
    try:
        case = load_case(items[scan.item])
        image = next(i for i in case.items.values() if isinstance(i, Image))
        pixels = shown(image)
    except (OslerError, KeyError, StopIteration):
        pixels = scan.thumb
    from PIL import Image as Pillow

    small = Pillow.fromarray(pixels)
    small.thumbnail((_SIDE, _SIDE))
    stream = buffers.BytesIO()
    small.convert("RGB").save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def shown(image: Image) -> NDArray[np.uint8]:
    """``(H, W)`` or ``(H, W, 3)`` 8-bit for the eye; of a volume its middle slice."""
    plane = image.array if image.array.ndim == 3 else image.array[:, image.shape[0] // 2]
    if plane.dtype == np.uint8 and len(plane) == 3:
        return np.ascontiguousarray(plane.transpose(1, 2, 0))
    grey = plane[0].astype(np.float32)
    if image.dtype != np.uint8 or grey.max() < 32:
        low, high = np.percentile(np.nan_to_num(grey), (1, 99))
        grey = (grey - low) * (255 / max(float(high - low), 1e-12))
    out: NDArray[np.uint8] = np.clip(np.nan_to_num(grey), 0, 255).astype(np.uint8)
    return out
