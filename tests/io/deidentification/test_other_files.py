"""Photographs, volumes, tables and texts: the content stays, and nobody goes along."""

import csv
import gzip
import io
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from dicom_pictures import dataset, picture, save
from leaks import found
from PIL import Image, ImageCms, PngImagePlugin

from osler.io.deidentification import Key, Options
from osler.io.deidentification.names_of_files import place
from osler.io.deidentification.one import Copied, Setting, check, copy

KEY = Key(b"k" * 32)
SECRET = "Xiomara Quillfeather"
RULES = Options(pixels="rules")


def copied(path: Path, tmp_path: Path, options: Options = RULES) -> tuple[Copied, Path]:
    setting = Setting(path.parent, tmp_path / "out", options, KEY)
    outcome = copy(path, setting)
    assert outcome.status == "copied", outcome.error
    assert check(outcome, setting) == []
    new = tmp_path / "out" / outcome.place
    assert SECRET.encode() not in new.read_bytes()
    assert "Quillfeather" not in outcome.place
    return outcome, new


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / SECRET
    folder.mkdir()
    return folder


def test_jpeg_keeps_every_pixel(folder: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = SECRET, 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(picture(colour=True, text=""))
    path = folder / f"{SECRET}.jpg"
    image.save(path, exif=exif, comment=SECRET, icc_profile=profile, xmp=SECRET.encode())
    path.write_bytes(path.read_bytes() + SECRET.encode())
    outcome, new = copied(path, tmp_path)
    with Image.open(path) as a, Image.open(new) as b:
        assert (np.asarray(a) == np.asarray(b)).all()
        assert dict(b.getexif()) == {0x0112: 6}
        assert "comment" not in b.info
        assert "xmp" not in b.info
        lost = ImageCms.getOpenProfile(io.BytesIO(b.info["icc_profile"]))
        assert lost.profile.profile_description in (None, "")
        assert lost.profile.red_primary is not None
    assert outcome.counts["bytes after the picture", "removed"] == 1


def test_png_keeps_every_pixel(folder: Path, tmp_path: Path) -> None:
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", SECRET)
    words.add_itxt("Comment", SECRET, zip=True)
    path = folder / "a.png"
    Image.fromarray(picture(text="")).save(path, pnginfo=words, dpi=(200, 200))
    _, new = copied(path, tmp_path)
    with Image.open(path) as a, Image.open(new) as b:
        assert (np.asarray(a) == np.asarray(b)).all()
        assert round(b.info["dpi"][0]) == 200
        assert not b.text


@pytest.mark.parametrize("inside", [True, False])
def test_words_behind_the_rows_of_a_png(folder: Path, tmp_path: Path, *, inside: bool) -> None:
    rows = (b"\0" + bytes(24)) * 8
    body = zlib.compress(rows + SECRET.encode()) if inside else zlib.compress(rows) + b"anybody"
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
        data += struct.pack(">I", len(part)) + kind + part
        data += struct.pack(">I", zlib.crc32(kind + part))
    (folder / "a.png").write_bytes(data)
    outcome = copy(folder / "a.png", Setting(folder, tmp_path / "out", RULES, KEY))
    assert outcome.status == "failed"
    assert "after its last row" in outcome.error


def test_tiff_keeps_pages_and_scale(folder: Path, tmp_path: Path) -> None:
    path = folder / "a.tif"
    pages = [np.arange(5000, dtype=np.uint16).reshape(50, 100) + i for i in range(3)]
    with tifffile.TiffWriter(path, bigtiff=True) as out:
        for page in pages:
            out.write(page, description=SECRET, resolution=(50, 50), resolutionunit=3)
    _, new = copied(path, tmp_path)
    with tifffile.TiffFile(new) as tiff:
        assert [(p.asarray() == a).all() for p, a in zip(tiff.pages, pages, strict=True)] == [
            True
        ] * 3
        assert tiff.pages[0].resolution == (50, 50)
        assert not tiff.pages[0].description


def test_text_on_a_photograph_goes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    for name in ("a.jpg", "a.png", "a.tif", "a.bmp"):
        path = folder / name
        Image.fromarray(picture(text=SECRET)).save(path)
        outcome, new = copied(path, tmp_path, Options())
        with Image.open(new) as image:
            corner = np.asarray(image.convert("L"))[9:18, 8:90]
        assert corner.max() <= 30
        assert outcome.counts["burnt-in text", "blacked out"] >= 1


def test_text_on_a_page_of_a_fax_or_in_planes_goes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("rapidocr")
    grey = picture(text=SECRET)
    planes = np.stack([picture(text=""), picture(text=SECRET), picture(text="")])
    for page, more in (
        (grey > 200, {"photometric": "minisblack"}),
        (planes, {"photometric": "rgb", "planarconfig": "separate"}),
    ):
        tifffile.imwrite(folder / "a.tif", page, **more)
        outcome, new = copied(folder / "a.tif", tmp_path, Options())
        assert outcome.counts["burnt-in text", "blacked out"] >= 1
        assert not tifffile.imread(new)[..., 9:18, 8:90].any()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.nii", nib.Nifti1Image), ("a.nii.gz", nib.Nifti1Image), ("b.nii.gz", nib.Nifti2Image)],
)
def test_nifti_keeps_voxels_and_place(
    folder: Path, tmp_path: Path, name: str, kind: type[nib.Nifti1Image]
) -> None:
    affine = np.diag([2.0, -1.0, 3.0, 1.0])
    image = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    image.header["descrip"], image.header["aux_file"] = SECRET.encode(), SECRET.encode()
    image.header["intent_name"] = b"Quillfeather"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nib.save(image, folder / name)
    outcome, new = copied(folder / name, tmp_path)
    again = nib.load(new)
    assert (np.asarray(again.dataobj) == np.asarray(image.dataobj)).all()
    assert (again.affine == affine).all()
    assert not again.header.extensions
    if name.endswith("gz"):
        assert SECRET.encode() not in gzip.decompress(new.read_bytes())
        assert b"a.nii" not in new.read_bytes()[:64]
    assert outcome.counts["NIfTI extensions", "removed"] == 1


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_nifti_pair_stays_a_pair(folder: Path, tmp_path: Path, packed: str) -> None:
    image = nib.Nifti1Pair(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2, 3, 4, 1]))
    for name in ("descrip", "aux_file", "db_name", "data_type"):
        image.header[name] = SECRET.encode()[: image.header[name].dtype.itemsize]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nib.save(image, folder / f"{SECRET}.img{packed}")
    _, header = copied(folder / f"{SECRET}.hdr{packed}", tmp_path)
    _, voxels = copied(folder / f"{SECRET}.img{packed}", tmp_path)
    assert header.name.replace(".hdr", ".img") == voxels.name
    assert found([header, voxels], (SECRET, "Quillf", "Xiomara")) == []
    again = nib.load(voxels)
    assert (np.asarray(again.dataobj) == np.asarray(image.dataobj)).all()
    assert (again.affine == image.affine).all()
    assert not again.header.extensions


def test_bytes_behind_the_voxels_go(folder: Path, tmp_path: Path) -> None:
    path = folder / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), np.eye(4)), path)
    with path.open("ab") as stream:
        stream.write(SECRET.encode())
    outcome, _ = copied(path, tmp_path)
    assert outcome.counts["NIfTI bytes after the voxels", "removed"] == 1
    path.write_bytes(path.read_bytes()[:400])
    assert copy(path, Setting(folder, tmp_path / "out", RULES, KEY)).status == "failed"


def test_voxels_without_their_header_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "a.img").write_bytes(bytes(range(200)))
    (folder / "a.hdr").write_bytes(b"\x5c\1\0\0".ljust(348, b"\0"))  # of Analyze 7.5
    for name in ("a.img", "a.hdr"):
        outcome = copy(folder / name, Setting(folder, tmp_path / "out", RULES, KEY))
        assert outcome.status == "refused"


def test_table_by_columns_and_by_text(folder: Path, tmp_path: Path) -> None:
    (folder / "pic.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    path = folder / "cohort.csv"
    rows = [
        ["patient_id", "patient name", "dob", "visit_date", "file", "age", "hba1c", "note"],
        [
            "H-778",
            SECRET,
            "1950-02-03",
            "2020-01-31",
            "pic.png",
            "97",
            "6.5",
            f"Seen by Dr {SECRET}",
        ],
        ["H-778", SECRET, "1950-02-03", "2020-02-10", "gone.png", "70", "7.1", "Stable, 12 mm"],
        ["H-779", "Jo, Al", "1951-01-01", "2020-02-10", "", "", "", "电话13800138000"],
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    _, new = copied(path, tmp_path, Options(dates="shift", pixels="rules"))
    with new.open(encoding="utf-8", newline="") as stream:
        head, a, b, c = list(csv.reader(stream))
    assert head == rows[0]
    assert a[0] == b[0] == KEY.name("patient", "H-778") != c[0]
    assert a[1:3] == ["[NAME]", ""]
    days = [np.datetime64(row[3]) for row in (a, b)]
    assert days[1] - days[0] == np.timedelta64(10, "D")
    assert days[0] < np.datetime64("2019-02-01")
    assert a[4] == "/".join(place("pic.png", ".png", KEY))
    assert a[5:] == ["90", "6.5", "Seen by Dr [NAME]"]
    assert b[5:] == ["70", "7.1", "Stable, 12 mm"]
    assert c[7] == "电话[PHONE]"


def test_a_table_in_german_knows_whom_it_names(folder: Path, tmp_path: Path) -> None:
    path = folder / "liste.csv"
    path.write_text(
        "Nachname;Vorname;Geburtsdatum;PatNr;Behandler;Befund;Anschrift\n"
        "Wiesengrund;Leopoldine;14.02.1944;00871233;Zwack;nodus of leopoldine 6 mm;Gartenweg 7\n",
        "utf-8",
    )
    _, new = copied(path, tmp_path)
    _, row = new.read_text("utf-8").splitlines()
    pseudonym = KEY.name("patient", "00871233")
    assert row == f"[NAME];[NAME];;{pseudonym};[NAME];nodus of [NAME] 6 mm;"


PEOPLE = [
    ("Worblehat,A12,58\nMillerson,A13,61\n", "[NAME],A12,58\n[NAME],A13,61\n"),
    ("gp,signed_by,eye\nworblehat,ZW,OD\n", "gp,signed_by,eye\n[NAME],[NAME],OD\n"),
    ("primo,v\nWorblehat Zeb,1\nO'Hara Tim,2\n", "primo,v\n[NAME],1\n[NAME],2\n"),
    ("主治,诊断\n赵立群,白内障\n", "主治,诊断\n[NAME],白内障\n"),
    ("grade,set,eye,maker\nNPDR,Train,Left,Topcon\nPDR,Train,Right,Topcon\n", ""),
    ("finding\nEdema\nCardiomegaly\nEffusion\n", ""),
    (
        "remark,n\nasked WEXLORBYK,1\nWexlorbyk,2\nnodus,3\n",
        "remark,n\nasked [NAME],1\n[NAME],2\nnodus,3\n",
    ),
    ("x,y\nthe eye is quite well,1\nWexlorbyk,2\n", "x,y\nthe eye is quite well,1\n[NAME],2\n"),
    ("seen by,v\nWexlorbyk,1\nnobody,2\n", "seen by,v\n[NAME],1\n[NAME],2\n"),
]


@pytest.mark.parametrize(("table", "clean"), PEOPLE)
def test_columns_of_people_with_other_names(
    folder: Path, tmp_path: Path, table: str, clean: str
) -> None:
    (folder / "a.csv").write_text(table, "utf-8")
    _, new = copied(folder / "a.csv", tmp_path)
    assert new.read_text("utf-8") == (clean or table)


def test_a_text_beside_dicom_knows_the_patient(folder: Path, tmp_path: Path) -> None:
    ds = dataset([picture(text="")], "native")
    ds.PatientName, ds.PatientID = "zzyq^vrblt", "QX77"
    save(ds, folder / "a.dcm")
    path = folder / "note.txt"
    path.write_text("scan of zzyq, vrblt (QX77) looks fine, lesion 3 mm\n", "utf-8")
    _, new = copied(path, tmp_path)
    assert new.read_text("utf-8") == "scan of [NAME] ([ID]) looks fine, lesion 3 mm\n"


@pytest.mark.parametrize("place", ["report.txt", "docs/report.txt", "ct/1/report.txt"])
def test_a_text_around_dicom_knows_the_patient(tmp_path: Path, place: str) -> None:
    patient = tmp_path / "in" / "patient"
    (patient / "ct" / "1").mkdir(parents=True)
    ds = dataset([picture(text="")], "native")
    ds.PatientName, ds.PatientID = "zzyqx-vrblt^orn", "QX77"
    save(ds, patient / "ct" / "a.dcm")
    path = patient / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("zzyqx (QX77), vrblt: lesion 3 mm\n", "utf-8")
    setting = Setting(tmp_path / "in", tmp_path / "out", RULES, KEY)
    outcome = copy(path, setting)
    assert check(outcome, setting) == []
    text = (tmp_path / "out" / outcome.place).read_text("utf-8")
    assert text == "[NAME] ([ID]), [NAME]: lesion 3 mm\n"


def test_the_names_of_folders_tell_of_whom_a_text_is(tmp_path: Path) -> None:
    path = tmp_path / "in" / "Vrblt Zzyqx 王小东 A00991122" / "CT Thorax Report.txt"
    path.parent.mkdir(parents=True)
    path.write_text("vrblt, zzyqx, 王小东 A00991122: thorax report of a CT\n", "utf-8")
    setting = Setting(tmp_path / "in", tmp_path / "out", RULES, KEY)
    outcome = copy(path, setting)
    text = (tmp_path / "out" / outcome.place).read_text("utf-8")
    assert text == "[NAME], [NAME], [NAME] [ID]: thorax report of a CT\n"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_chinese_text_in_any_encoding(folder: Path, tmp_path: Path, encoding: str) -> None:
    path = folder / "note.txt"
    path.write_bytes("患者姓名：欧阳小明，左肺见结节，约12mm。".encode(encoding))
    _, new = copied(path, tmp_path)
    assert new.read_text("utf-8") == "患者姓名：[NAME]，左肺见结节，约12mm。"


OTHERS = {
    "a.docx": b"PK\x03\x04",
    "a.pdf": b"%PDF-1.7",
    "a.bin": b"\0\1\2",
    "a.xml": b"<svg/>",
    "a.json": b'[{"00100010": {"vr": "PN"}}]',
    "binary.txt": b"\0\1\2",
}


@pytest.mark.parametrize(("name", "data"), OTHERS.items())
def test_other_kinds_are_not_copied(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    outcome = copy(tmp_path / name, Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status == ("failed" if name == "a.pdf" else "refused")  # one is damaged
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"MSH|^~\\&|A|B|C|D|2020||ORU^R01|1|P|2.5\r", "osler convert IN OUT.txt"),
        (b"HSF-OCT-103" + bytes(200), "Heidelberg"),
        (b"PAR1" + bytes(200) + b"PAR1", "as CSV"),
    ],
)
def test_what_is_not_cleaned_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a.bin").write_bytes(data)
    outcome = copy(tmp_path / "a.bin", Setting(tmp_path, tmp_path / "out", RULES, KEY))
    assert outcome.status == "refused"
    assert said in outcome.error


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "nii.gz", "native.dcm", "rle.dcm"])
def test_what_is_cut_off_is_not_copied(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "nii.gz":
        noise = np.random.default_rng(0).integers(0, 999, (16, 16, 16)).astype(np.int16)
        nib.save(nib.Nifti1Image(noise, np.eye(4)), path)
    elif kind.endswith("dcm"):
        save(dataset([picture(text="")], kind.split(".", maxsplit=1)[0]), path)
    else:
        Image.fromarray(picture(text="")).save(path)
    data = path.read_bytes()
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(data[: int(len(data) * part)])
        outcome = copy(path, Setting(tmp_path, tmp_path / "out", RULES, KEY))
        assert outcome.status in ("failed", "refused"), (part, outcome)
        assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_nothing_private_in_the_key_or_its_words() -> None:
    assert repr(Key(b"s" * 32)) == "Key(...)"
    assert "73" not in repr(Setting(Path("a"), Path("b"), RULES, Key(b"s" * 32)))


def test_a_real_table_keeps_its_findings(data_dir: Path, tmp_path: Path) -> None:
    _, new = copied(data_dir / "cxr-structures" / "images.csv", tmp_path)
    with new.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (data_dir / "cxr-structures" / "images.csv").open(encoding="utf-8", newline="") as stream:
        before = list(csv.DictReader(stream))
    for column in ("sex", "finding", "view", "license", "structures"):
        assert [r[column] for r in rows] == [r[column] for r in before]
    words = sum(len(r["clinical_notes"].split()) for r in rows)
    assert words > 0.97 * sum(len(r["clinical_notes"].split()) for r in before)
    assert all(a["image"] != b["image"] for a, b in zip(rows, before, strict=True))
