"""Makes small OCT files byte by byte, by the layouts that are published for them."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

TICKS = 132_000_000_000_000_000
"""100 ns since 1601: in April 2019."""


def cube(count: int = 4, height: int = 6, width: int = 8) -> NDArray[np.float32]:
    """Reflectivity ``(D, H, W)`` between 0 and 1 without any symmetry."""
    return (np.arange(count * height * width, dtype=np.float32) / 200).reshape(count, height, width)


def enface(height: int = 10, width: int = 12) -> NDArray[np.uint8]:
    return np.arange(height * width, dtype=np.uint8).reshape(height, width)


def parallel(count: int = 4, step: float = 0.12) -> list[tuple[float, float, float, float]]:
    """``(x0, y0, x1, y1)`` in mm, from below upwards as the device scans."""
    return [(0.1, 0.5 - i * step, 0.9, 0.5 - i * step) for i in range(count)]


def vol(
    data: NDArray[np.float32] | None = None,
    *,
    lines: list[tuple[float, float, float, float]] | None = None,
    eye: bytes = b"OD",
    pattern: int = 3,
    distance: float = 0.12,
    scale: float = 0.0039,
    layers: NDArray[np.float32] | None = None,
) -> bytes:
    """A Heidelberg ``.vol`` file; ``layers`` are boundaries ``(L, D, W)``."""
    data = cube() if data is None else data
    count, height, width = data.shape
    slo = enface()
    drawn = 0 if layers is None else len(layers)
    size = 512 + drawn * width * 4
    header = struct.pack(
        "<12sIIIdddIIddId4sQiI16s16sI24sdI24sd",
        b"HSF-OCT-103", width, count, height, 0.1, distance, scale, slo.shape[1], slo.shape[0],
        0.1, 0.05, 30, 0.5, eye, TICKS, pattern, size, b"1", b"", 1, b"P-17", 0.0, 1, b"", 0.0,
    )  # fmt: skip
    out = header.ljust(2048, b"\0") + slo.tobytes()
    for d, (plane, (x0, y0, x1, y1)) in enumerate(zip(data, lines or parallel(count), strict=True)):
        head = struct.pack(
            "<12sIddddIIfI", b"HSF-BS-103", size, x0, y0, x1, y1, drawn, 256, 25.0, 0
        ).ljust(256, b"\0")
        if layers is not None:
            head += layers[:, d].astype("<f4").tobytes()
        out += head.ljust(size, b"\0") + plane.astype("<f4").tobytes()
    return out


def boundaries(count: int = 4, width: int = 8, number: int = 3) -> NDArray[np.float32]:
    """Heights ``(L, D, W)`` in pixels; the second has gaps, the last is nowhere."""
    heights = np.arange(number * count * width, dtype=np.float32).reshape(number, count, width) / 40
    if number > 1:
        heights[1, 0, 3] = heights[1, 2, :2] = NOWHERE
        heights[-1] = NOWHERE
    return heights


NOWHERE = np.float32(3.4028235e38)


def chunk(name: str, data: bytes) -> bytes:
    """A chunk of a Topcon file."""
    return bytes([len(name)]) + name.encode() + struct.pack("<I", len(data)) + data


def picture(array: NDArray[np.uint8], format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    Pillow.fromarray(array).save(buffer, format, **options)
    return buffer.getvalue()


def topcon(
    *chunks: bytes, kind: bytes = b"FDA", eye: int = 1, width_mm: float = 6.0, depth_um: float = 2.6
) -> bytes:
    """A Topcon file with an eye and the size of its scan; the last chunk has no name."""
    capture = struct.pack("<BBI100s6H", eye, 2, 1, b"", 2020, 3, 4, 10, 11, 12)
    scan = struct.pack("<IIIddddd2B", 0, 0, 0, width_mm, 3.0, depth_um, 0.0, 0.0, 0, 0)
    head = b"FOCT" + kind + struct.pack("<II", 2, 1000)
    body = chunk("@CAPTURE_INFO_02", capture) + chunk("@PARAM_SCAN_04", scan)
    return head + body + b"".join(chunks) + b"\0"


def raw_chunk(data: NDArray[np.uint16], name: str = "@IMG_MOT_COMP_03") -> bytes:
    count, height, width = data.shape
    head = struct.pack("<BIIIIBI", 2, width, height, 16, count, 0, data.nbytes)
    return chunk(name, head + data.astype("<u2").tobytes())


def jpeg_chunk(data: NDArray[np.uint8]) -> bytes:
    """B-scans in lossless JPEG 2000."""
    count, height, width = data.shape
    out = struct.pack("<BIIIIII", 2, 0, 0, width, height, count, 0)
    for plane in data:
        stream = picture(plane, "JPEG2000", irreversible=False)
        out += struct.pack("<I", len(stream)) + stream
    return chunk("@IMG_JPEG", out)


def fundus_chunk(colour: NDArray[np.uint8]) -> bytes:
    height, width = colour.shape[:2]
    stream = picture(colour, "JPEG2000", irreversible=False)
    head = struct.pack("<IIII4sI", width, height, 24, 1, b"", len(stream))
    return chunk("@IMG_FUNDUS", head + stream)


def e2e(
    codes: NDArray[np.uint16], *, numbers: list[int] | None = None, eyes: bytes = b"R",
    stated: int | None = None, series: int = 3, slo: bool = True,
    layers: NDArray[np.float32] | None = None, by_hand: tuple[int, ...] = (), padding: int = 0,
) -> bytes:  # fmt: skip
    """A Heidelberg ``.e2e`` file of one series: one directory, a container for each piece."""
    count, height, width = codes.shape
    numbers = numbers or [2 * i for i in range(count)]
    containers: list[tuple[int, int, int, bytes]] = [
        (11, -1, 0, bytes(14) + bytes([eye]) + bytes(12)) for eye in eyes
    ]
    words = b"".join(text.encode("utf-16-le").ljust(256, b"\0") for text in ("Infra-Red", "IR"))
    containers.append((9007, -1, 0, struct.pack("<II", 2, 256) + words))
    if slo:
        flat = enface()
        head = struct.pack("<IIIII", flat.size, 33620481, flat.size, *flat.shape)
        containers.append((0x40000000, -1, 0, head + flat.tobytes()))
    for i, (number, plane) in enumerate(zip(numbers, codes, strict=True)):
        head = struct.pack("<IIIII", plane.nbytes, 35652097, plane.size, height, width)
        containers.append((0x40000000, number, 1, head + plane.astype("<u2").tobytes()))
        place = struct.pack("<III4fIffI", 0, height, width, -9, i, 9, i, 0, 0, 0.0039, 0)
        place += struct.pack("<IffIIIII", 0, 0, 0, 0, width, stated or count, i, 3)
        containers.append((10004, number, 0, place.ljust(428, b"\0")))
        for layer, lines in enumerate(() if layers is None else layers):
            line = struct.pack("<IIIII", 0, layer, 0, width, layer in by_hand) + bytes(4 * padding)
            containers.append((10019, number, 0, line + lines[i].astype("<f4").tobytes()))
    return _directory(containers, series)


def _directory(containers: list[tuple[int, int, int, bytes]], series: int) -> bytes:
    start = 36 + 52 + 52 + 44 * len(containers)
    entries, body = b"", b""
    for kind, number, index, data in containers:
        at = start + len(body)
        names = (1, 2, series if kind != 9 else -1, number)
        entries += struct.pack("<IIIIiiiiHHII", 88, at, len(data), 0, *names, index, 0, kind, 0)
        body += struct.pack("<12sIIIII", b"MDbData", 0, at, at, len(data), 0)
        body += struct.pack("<iiiiHHII", *names, index, 0, kind, 0) + data

    def directory(magic: bytes, count: int, current: int, before: int) -> bytes:
        return struct.pack("<12sI20sIIII", magic, 100, b"\xff" * 20, count, current, before, 0)

    head = struct.pack("<12sI20s", b"CMDb", 100, b"\xff" * 20)
    head += directory(b"MDbMDir", 0, 88, 88)
    return head + directory(b"MDbDir", len(containers), 88, 0) + entries + body


def heyex_xml(
    folder: Path, planes: NDArray[np.uint8], *, eye: str = "R", step: float = 0.12, extra: str = "",
    layers: dict[str, NDArray[np.float32]] | None = None,
) -> Path:  # fmt: skip
    """A Heidelberg XML export in a folder."""
    images = [_image("LOCALIZER", "slo.bmp", enface(), (0.05, 0.1), None)]
    Pillow.fromarray(enface()).save(folder / "slo.bmp")
    for i, (plane, line) in enumerate(zip(planes, parallel(len(planes), step), strict=True)):
        Pillow.fromarray(plane).save(folder / f"b{i}.tif")
        drawn = "".join(
            f"<SegLine><Name>{name}</Name><Manual>{str(name == 'BM').lower()}</Manual><Array>"
            f"{' '.join(repr(float(h)) for h in heights[i])}</Array></SegLine>"
            for name, heights in (layers or {}).items()
        )
        image = _image("OCT", f"b{i}.tif", plane, (0.0039, 0.1), line)
        segmented = f"<Segmentation>{drawn}</Segmentation></Image>"
        images.append(image.replace("</Image>", segmented) if drawn else image)
    text = (
        '<?xml version="1.0"?>' + extra + "<HEDX><BODY><SWVersion><Version>1</Version></SWVersion>"
        "<Patient><ID>1</ID><PatientID>P-17</PatientID><LastName>Secret</LastName>"
        f"<Study><Series><ID>1</ID><Laterality>{eye}</Laterality>{''.join(images)}"
        "</Series></Study></Patient></BODY></HEDX>"
    )
    (folder / "scan.xml").write_text(text)
    return folder / "scan.xml"


def _image(
    kind: str, name: str, plane: NDArray[np.uint8], scale: tuple[float, float],
    line: tuple[float, float, float, float] | None,
) -> str:  # fmt: skip
    ends = ""
    if line is not None:
        x0, y0, x1, y1 = line
        ends = f"<Start><Coord><X>{x0}</X><Y>{y0}</Y></Coord></Start>"
        ends += f"<End><Coord><X>{x1}</X><Y>{y1}</Y></Coord></End>"
    return (
        f"<Image><ImageType><Type>{kind}</Type></ImageType><OphthalmicAcquisitionContext>"
        f"<Width>{plane.shape[1]}</Width><Height>{plane.shape[0]}</Height>"
        f"<ScaleX>{scale[1]}</ScaleX><ScaleY>{scale[0]}</ScaleY>{ends}"
        f"</OphthalmicAcquisitionContext><ImageData><ExamURL>C:\\export\\{name}</ExamURL>"
        "</ImageData></Image>"
    )
