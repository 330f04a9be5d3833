"""Expression matrices and variant summaries."""

import gzip
import struct
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import InputError, OslerError, TooLargeError, UnreadableError, UnsupportedError
from osler.io import load
from osler.record import Table

ANNDATA = Path(__file__).parent / "files" / "anndata.h5ad"
DENSE = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 3], [0, 4, 0.25]])


def put(folder: Path, content: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(path: Path, name: str = "expression", **options: object) -> Table:
    item = load(path, **options)[name]
    assert isinstance(item, Table)
    return item


def matrix(item: Table) -> np.ndarray:
    assert item.matrix is not None
    return item.matrix


GENES = "gene,s1,s2\nTP53,1.5,2\nBRCA1,NA,4\n"


def test_the_orientation_is_said(tmp_path: Path) -> None:
    path = put(tmp_path, GENES, "m.csv")
    read = table(path, orientation="features-by-samples")
    assert (read.samples, read.features) == (("s1", "s2"), ("TP53", "BRCA1"))
    np.testing.assert_array_equal(matrix(read), [[1.5, np.nan], [2, 4]])
    turned = table(path, orientation="samples-by-features")
    assert (turned.samples, turned.features) == (("TP53", "BRCA1"), ("s1", "s2"))
    np.testing.assert_array_equal(matrix(turned), matrix(read).T)
    with pytest.raises(InputError, match="features-by-samples"):
        load(path, orientation="sideways")
    with pytest.raises(UnsupportedError, match="2 rows"):
        load(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gene,s1,s2\na,1,x\n", "column 3"),
        ("gene,s1\n", "no values|beside"),
        ("gene\na\n", "beside"),
    ],
)
def test_matrices_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UnreadableError, match=words):
        load(put(tmp_path, text, "m.csv"), orientation="features-by-samples")


def test_names_that_stand_twice(tmp_path: Path) -> None:
    path = put(tmp_path, "g,s1\nA,1\nA,2\n", "m.csv")
    assert table(path, orientation="features-by-samples").flags == ("features-of-one-name",)
    with pytest.raises(UnreadableError, match="share a name"):
        load(path, orientation="samples-by-features")


GCT2 = "#1.2\n2\t3\nName\tDescription\ts1\ts2\ts3\nTP53\tna\t1\t2\t3\nXIST\tx\t4\t\t6.5\n"
GCT3 = (
    "#1.3\n2\t2\t1\t2\nid\tsymbol\ta\tb\ndose\tna\t1\t2\nkind\tna\tcase\tcontrol\n"
    "g1\tTP53\t1\t2\ng2\tXIST\t3\t4\n"
)


def test_gct(tmp_path: Path) -> None:
    old = table(put(tmp_path, GCT2, "m.gct"))
    assert (old.samples, old.features) == (("s1", "s2", "s3"), ("TP53", "XIST"))
    np.testing.assert_array_equal(matrix(old), [[1, 4], [2, np.nan], [3, 6.5]])
    assert old.header["features"] == {"Description": ("na", "x")}
    new = table(put(tmp_path, GCT3, "m.txt"))
    assert (new.samples, new.features) == (("a", "b"), ("g1", "g2"))
    np.testing.assert_array_equal(matrix(new), [[1, 3], [2, 4]])
    assert new.header == {
        "features": {"symbol": ("TP53", "XIST")},
        "samples": {"dose": ("1", "2"), "kind": ("case", "control")},
    }


@pytest.mark.parametrize("keep", [6, 9, 30, 50, len(GCT2) - 8])
def test_cut_gct(tmp_path: Path, keep: int) -> None:
    with pytest.raises(UnreadableError, match=r"m\.gct"):
        load(put(tmp_path, GCT2[:keep], "m.gct"))


def test_a_last_number_that_may_be_cut_is_said(tmp_path: Path) -> None:
    assert table(put(tmp_path, GCT2[:-2], "m.gct")).flags == ("last-line-unended",)


def test_gct_that_lies(tmp_path: Path) -> None:
    for counts in ("2\t4", "9\t3", "x", "2"):
        with pytest.raises(UnreadableError, match=r"line 2|line 3"):
            load(put(tmp_path, GCT2.replace("2\t3", counts, 1), "m.gct"))
    with pytest.raises(TooLargeError):
        load(put(tmp_path, GCT2.replace("2\t3", "99999999\t99999999", 1), "m.gct"))


def test_what_anndata_writes() -> None:
    read = table(ANNDATA)
    assert read.samples == ("c1", "c2", "c3", "c4")
    assert read.features == ("TP53", "BRCA2", "XIST")
    np.testing.assert_array_equal(matrix(read), DENSE)
    assert matrix(read).dtype == np.float32
    assert read.flags == ("layers-left-out",)
    assert read.header["samples"] == {
        "cell_type": ("B", None, "T", "B"),
        "depth": (10.5, 3.0, None, 7.0),
        "count": (1, None, 3, 4),
        "kept": (True, False, True, True),
    }
    assert read.header["features"] == {"chromosome": ("17", "13", "X")}


def test_chosen_features() -> None:
    read = table(ANNDATA, features=("XIST", "TP53"))
    assert read.features == ("XIST", "TP53")
    np.testing.assert_array_equal(matrix(read), DENSE[:, [2, 0]])
    assert read.header["features"] == {"chromosome": ("X", "17")}
    with pytest.raises(InputError, match="no feature 'MYC'"):
        load(ANNDATA, features=("MYC",))
    with pytest.raises(TooLargeError, match="features="):
        load(ANNDATA, max_pixels=11)
    assert table(ANNDATA, max_pixels=8, features=("XIST",)).features == ("XIST",)


def h5ad(path: Path, kind: str = "csr_matrix", **changed: np.ndarray) -> Path:
    with h5py.File(path, "w") as root:
        for name, index in (("obs", ["a", "b"]), ("var", ["x", "y", "z"])):
            group = root.create_group(name)
            group.attrs["_index"] = "_index"
            group.attrs["column-order"] = np.array([], "S1")
            group["_index"] = index
        if kind == "dense":
            root["X"] = changed.get("X", np.arange(6).reshape(2, 3))
            return path
        # the matrix [[0, 1, 0], [2, 0, 3]], or its columns
        parts = {"data": np.array([1.0, 2, 3]), "indices": np.array([1, 0, 2]),
                 "indptr": np.array([0, 1, 3])}  # fmt: skip
        if kind == "csc_matrix":
            parts = {"data": np.array([2.0, 1, 3]), "indices": np.array([1, 0, 1]),
                     "indptr": np.array([0, 1, 2, 3])}  # fmt: skip
        group = root.create_group("X")
        group.attrs["encoding-type"], group.attrs["shape"] = kind, changed.pop("shape", [2, 3])
        for name, values in {**parts, **changed}.items():
            group[name] = values
    return path


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix"])
def test_sparse_by_row_and_by_column(tmp_path: Path, kind: str) -> None:
    path = h5ad(tmp_path / "m.h5ad", kind)
    np.testing.assert_array_equal(matrix(table(path)), [[0, 1, 0], [2, 0, 3]])
    np.testing.assert_array_equal(matrix(table(path, features=("z",))), [[0], [3]])


@pytest.mark.parametrize(
    "changed",
    [
        {"indices": np.array([1, 0, 3])},
        {"indices": np.array([1, 0, -1])},
        {"indices": np.array([1, 0])},
        {"indptr": np.array([0, 1, 2])},
        {"indptr": np.array([0, 2, 1])},
        {"indptr": np.array([0, 3])},
        {"shape": [2, 4]},
        {"data": np.array([b"a", b"b", b"c"])},
    ],
)
def test_matrices_that_do_not_fit(tmp_path: Path, changed: dict[str, np.ndarray]) -> None:
    with pytest.raises(UnreadableError, match="does not fit"):
        load(h5ad(tmp_path / "m.h5ad", **changed))


def test_hostile_hdf5(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "m.h5ad", "dense")
    with h5py.File(path, "a") as root:
        del root["X"]
        root["X"] = h5py.ExternalLink("/etc/passwd", "/X")
    with pytest.raises(UnsupportedError, match="elsewhere"):
        load(path)
    with h5py.File(path, "a") as root:
        del root["X"]
        root.create_dataset("X", (2, 3), "u1", external=[("/etc/passwd", 0, 6)])
    with pytest.raises(UnsupportedError, match="other files"):
        load(path)
    with h5py.File(path, "a") as root:  # a petabyte that takes no room
        for name in ("obs", "var"):
            del root[name]["_index"]
            root[name].create_dataset("_index", (2**40,), "i8", chunks=(2**16,))
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()
    with h5py.File(path, "w") as root:
        root["volume"] = [1]
    with pytest.raises(UnsupportedError, match="without X"):
        load(path)
    whole = h5ad(path, "dense").read_bytes()
    for keep in (8, 100, len(whole) // 2, len(whole) - 1):
        with pytest.raises(OslerError):
            load(put(tmp_path, whole[:keep], "cut.h5ad"))


VCF = """##fileformat=VCFv4.3
##reference=file:///data/GRCh38.fa
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tA\tB
1\t10\trs1\tA\tG\t50\tPASS\t.\tGT:DP\t0/1:9\t1|1:8
1\t20\t.\tC\tA,T\t50\tPASS\t.\tGT\t1/2\t0/0
1\t30\t.\tAT\tA\t50\tq10\t.\tGT\t./.\t0
2\t40\t.\tA\tATT\t50\t.\t.\tGT\t0/.\t1
2\t50\t.\tAC\tGT\t50\tPASS\t.\tDP\t3\t4
X\t60\t.\tG\t<DEL>\t50\tPASS\t.\tGT\t0|0\t0/0
X\t70\t.\tG\t*,a\t50\tPASS\t.\tGT\t0/0\t0/0
X\t80\t.\tG\t.\t50\tPASS\t.\tGT\t0/0\t0/0
"""
COUNTS = {
    "version": "VCFv4.3", "reference": "GRCh38.fa", "records": 8, "snv": 4, "mnv": 1,
    "insertion": 1, "deletion": 1, "symbolic": 1, "spanning-deletion": 1, "multiallelic": 2,
    "pass": 6, "filtered": 1, "not-filtered": 1, "transitions": 3, "transversions": 1, "ti/tv": 3,
}  # fmt: skip


def bgzip(data: bytes, size: int = 100) -> bytes:
    """Blocks of BGZF (SAM 4.1), as htslib writes them."""
    out = b""
    for start in [*range(0, len(data), size), len(data)]:
        block = data[start : start + size]
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(block) + packer.flush()
        header = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\x00BC\x02\x00"
        out += header + struct.pack("<H", len(body) + 25) + body
        out += struct.pack("<II", zlib.crc32(block), len(block))
    return out


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bgzip])
def test_variants(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    read = table(put(tmp_path, pack(VCF.encode()), "v.vcf"), "variants")
    assert read.values == COUNTS
    assert read.samples == ("A", "B")
    assert read.features == ("hom-ref", "het", "hom-alt", "missing")
    np.testing.assert_array_equal(matrix(read), [[3, 2, 0, 2], [5, 0, 2, 0]])
    assert not read.flags


def test_variants_without_samples(tmp_path: Path) -> None:
    text = "".join(
        "\t".join(line.split("\t")[:8]) + "\n" if not line.startswith("##") else f"{line}\n"
        for line in VCF.splitlines()
    )
    read = table(put(tmp_path, text, "v.vcf"), "variants")
    assert read.values == COUNTS
    assert read.matrix is None


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("1\t10", "1\tten", 4), ("\tA\tG\t", "\tA\tG\t\t", 4), ("\tPASS\t.\tGT:DP", "\tPASS\t.", 4),
        ("\tC\tA,T", "\tC\tA,!", 5), ("\tGT:DP\t", "\tDP:GT\t", 4), ("\tA\tB\n", "\tA\tA\n", 3),
        ("#CHROM", "#CHR", 3), ("\tC\tA,T", "\t\tA,T", 5),
    ],
)  # fmt: skip
def test_broken_lines_are_named(tmp_path: Path, old: str, new: str, line: int) -> None:
    with pytest.raises(UnreadableError, match=f"line {line}:"):
        load(put(tmp_path, VCF.replace(old, new, 1), "v.vcf"))


def test_cut_variants(tmp_path: Path) -> None:
    packed = bgzip(VCF.encode())
    for keep in (90, 200, len(packed) - 40):
        with pytest.raises(UnreadableError, match="gzip that ends early"):
            load(put(tmp_path, packed[:keep], "v.vcf.gz"))
    assert table(put(tmp_path, packed[:-28], "v.vcf.gz"), "variants").flags == (
        "end-marker-missing",
    )
    assert table(put(tmp_path, VCF[:-1], "v.vcf"), "variants").flags == ("last-line-unended",)
    with pytest.raises(UnreadableError, match="column names"):
        load(put(tmp_path, "##fileformat=VCFv4.3\n", "v.vcf"))


def test_a_bomb_needs_little_memory(tmp_path: Path) -> None:
    start = gzip.compress(b"##fileformat=VCFv4.3\n")
    path = put(tmp_path, start + gzip.compress(b"A" * 100_000_000, 1), "v.vcf.gz")
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with pytest.raises(TooLargeError, match="line of more"):
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250_000_000


SAMPLES = {
    "v.vcf": VCF.encode(),
    "v.vcf.gz": bgzip(VCF.encode()),
    "m.gct": GCT3.encode(),
    "m.h5ad": ANNDATA.read_bytes(),
}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(SAMPLES)), at=st.integers(0, 30_000), some=st.binary(max_size=3),
    keep=st.integers(20, 40_000),
)  # fmt: skip
def test_damage_ends_in_our_errors(
    tmp_path: Path, name: str, at: int, some: bytes, keep: int
) -> None:
    data = SAMPLES[name]
    at %= len(data)
    data = (data[:at] + some + data[at + len(some) :])[:keep]
    try:
        case = load(put(tmp_path, data, name))
    except OslerError:
        return
    assert case.items


def test_a_matrix_without_its_orientation_names_the_option(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",s1,s2\nTP53,1,2\nKRAS,3,4\n")
    with pytest.raises(
        UnsupportedError, match="of a matrix of features say orientation=, of a recording rate="
    ):
        load(path)
    assert load(path, orientation="features-by-samples")["expression"].samples == ("s1", "s2")
