"""Summaries of variant calls (VCF, plain or bgzipped), streamed line by line.

Source: The Variant Call Format 4.3, samtools/hts-specs.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from osler.errors import TooLargeError, UnreadableError
from osler.io.content import Content
from osler.io.input_file import InputFile, decoding
from osler.record import Table

GENOTYPES: Final = ("hom-ref", "het", "hom-alt", "missing")
"""The features of the matrix: how many records each sample has of each."""

MAX_LINE: Final = 64_000_000
MAX_BYTES: Final = 32_000_000_000
_CHUNK: Final = 1 << 20
_FIXED: Final = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_PURINES: Final = {frozenset("AG"), frozenset("CT")}
_BASES = re.compile(r"[ACGTN]+", re.IGNORECASE)
_BGZIP_END: Final = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends a bgzipped file (SAM 4.1.2)."""
_KINDS: Final = ("snv", "mnv", "insertion", "deletion", "symbolic", "spanning-deletion")


def read_vcf(file: InputFile, format: str, *, max_pixels: int) -> Content:
    """Count what a file of variants holds; the variants themselves stay in it.

    The item ``"variants"`` has, as values: ``records``; alternative alleles by kind (``snv``,
    ``mnv``, ``insertion``, ``deletion``, ``symbolic``, ``spanning-deletion``); ``multiallelic``
    records; ``pass``, ``filtered`` and ``not-filtered`` records by FILTER; ``transitions``,
    ``transversions`` and their ratio ``ti/tv``; ``reference`` and ``version`` as the header says
    them. With genotypes, its matrix is ``(S, 4)``: records a sample is ``hom-ref``, ``het``,
    ``hom-alt`` or ``missing`` in. A file that may have been cut has the flag
    ``last-line-unended`` or ``end-marker-missing``.

    Args:
        file: the opened file.
        format: ``"vcf"``.
        max_pixels: refuse more samples than this.

    Raises:
        UnreadableError: damaged or incomplete; the message names the line.
        TooLargeError: a line of more than 64 MB, or more than 32 GB inflated.
    """
    with decoding(file, format):
        summary = _Summary(file, max_pixels)
        for number, line in enumerate(_lines(file), 1):
            summary.add(number, line)
        table = summary.table(format)
        table.flags = _end_flags(file)
        return Content([table])


def _end_flags(file: InputFile) -> tuple[str, ...]:
    """A file that was cut between two lines or two blocks looks whole, but for its very end."""
    file.stream.seek(max(0, file.size - len(_BGZIP_END)))
    end = file.stream.read(len(_BGZIP_END))
    if file.head[:2] != b"\x1f\x8b":
        return () if end.endswith(b"\n") else ("last-line-unended",)
    blocked = bool(file.head[3] & 4) and file.head[12:14] == b"BC"
    return ("end-marker-missing",) if blocked and end != _BGZIP_END else ()


def _chunks(file: InputFile) -> Iterator[bytes]:
    """The file's bytes, inflated a bounded piece at a time."""
    file.stream.seek(0)
    if not file.head.startswith(b"\x1f\x8b"):
        while piece := file.stream.read(_CHUNK):
            yield piece
        return
    waiting = b""
    inflater = None
    while True:
        if not waiting:
            waiting = file.stream.read(_CHUNK)
            if not waiting:
                break
        if inflater is None:
            inflater = zlib.decompressobj(wbits=31)
        try:
            piece = inflater.decompress(waiting, _CHUNK)
        except zlib.error:
            raise _cut(file) from None
        if inflater.eof:
            # bgzip is one gzip member after another
            waiting, inflater = inflater.unused_data, None
        else:
            waiting = inflater.unconsumed_tail
        if piece:
            yield piece
    if inflater is not None:
        raise _cut(file)


def _lines(file: InputFile) -> Iterator[str]:
    # pieces of a line that is not complete, joined once: adding them up would copy them each time
    pieces: list[bytes] = []
    waiting = total = 0
    for chunk in _chunks(file):
        total += len(chunk)
        if total > MAX_BYTES:
            raise TooLargeError(
                f"'{file.name}' inflates to more than {MAX_BYTES:,} bytes; split it by chromosome"
            )
        *ended, rest = chunk.split(b"\n")
        for line in ended:
            yield b"".join([*pieces, line]).rstrip(b"\r").decode("utf-8", "replace")
            pieces, waiting = [], 0
        pieces.append(rest)
        waiting += len(rest)
        if waiting > MAX_LINE:
            raise TooLargeError(f"'{file.name}' has a line of more than {MAX_LINE:,} bytes")
    if last := b"".join(pieces).rstrip(b"\r"):
        yield last.decode("utf-8", "replace")


class _Summary:
    """What has been counted so far."""

    def __init__(self, file: InputFile, max_samples: int) -> None:
        self._file, self._max_samples = file, max_samples
        self._counts = dict.fromkeys(
            ("records", *_KINDS, "multiallelic", "pass", "filtered", "not-filtered",
             "transitions", "transversions"), 0
        )  # fmt: skip
        self._said: dict[str, str] = {}
        self._samples: tuple[str, ...] | None = None
        self._genotypes: NDArray[np.int64] = np.zeros((0, len(GENOTYPES)), np.int64)
        self._with_genotypes = False

    def add(self, number: int, line: str) -> None:
        if line.startswith("##"):
            key, _, value = line[2:].partition("=")
            if key == "fileformat":
                self._said["version"] = value
            elif key in ("reference", "assembly"):
                self._said.setdefault("reference", value.rpartition("/")[2])
        elif self._samples is None:
            self._columns(number, line)
        elif line:
            self._record(number, line)

    def _columns(self, number: int, line: str) -> None:
        cells = line.split("\t")
        if tuple(cells[:8]) != _FIXED or (len(cells) > 8 and cells[8] != "FORMAT"):
            raise self._broken(number, "the line of column names")
        self._samples = tuple(cells[9:])
        if len(set(self._samples)) < len(self._samples):
            raise self._broken(number, "a name of its own for each sample")
        if len(self._samples) > self._max_samples:
            raise TooLargeError(f"'{self._file.name}' has {len(self._samples):,} samples; split it")
        self._genotypes = np.zeros((len(self._samples), len(GENOTYPES)), np.int64)

    def _record(self, number: int, line: str) -> None:
        cells = line.split("\t")
        samples = self._samples or ()
        expected = 8 if not samples else 9 + len(samples)
        if len(cells) != expected and not (not samples and len(cells) == 9):
            raise self._broken(number, f"{expected} columns")
        position, reference, alternatives, verdict = cells[1], cells[3], cells[4], cells[6]
        if not position.isdecimal() or not _BASES.fullmatch(reference):
            raise self._broken(number, "a position and reference bases")
        counts = self._counts
        counts["records"] += 1
        kind = {"PASS": "pass", ".": "not-filtered"}.get(verdict, "filtered")
        counts[kind] += 1
        alleles = [] if alternatives == "." else alternatives.split(",")
        counts["multiallelic"] += len(alleles) > 1
        for allele in alleles:
            self._allele(number, reference.upper(), allele.upper())
        if samples:
            self._calls(number, cells[8].split(":"), cells[9:])

    def _allele(self, number: int, reference: str, allele: str) -> None:
        counts = self._counts
        if allele == "*":
            counts["spanning-deletion"] += 1
        elif allele.startswith("<") or any(c in allele for c in "[]."):
            counts["symbolic"] += 1
        elif not _BASES.fullmatch(allele):
            raise self._broken(number, "alternative bases")
        elif len(allele) > len(reference):
            counts["insertion"] += 1
        elif len(allele) < len(reference):
            counts["deletion"] += 1
        elif len(allele) > 1:
            counts["mnv"] += 1
        else:
            counts["snv"] += 1
            if reference != allele and "N" not in (reference, allele):
                change = frozenset((reference, allele))
                counts["transitions" if change in _PURINES else "transversions"] += 1

    def _calls(self, number: int, keys: list[str], calls: list[str]) -> None:
        if "GT" not in keys:
            return
        self._with_genotypes = True
        if keys[0] != "GT":
            raise self._broken(number, "GT as the first key")
        for i, call in enumerate(calls):
            self._genotypes[i, _genotype(call.partition(":")[0])] += 1

    def table(self, format: str) -> Table:
        if self._samples is None:
            raise self._broken(1, "a line of column names anywhere")
        counts: dict[str, Any] = {**self._said, **self._counts}
        if self._counts["transversions"]:
            counts["ti/tv"] = self._counts["transitions"] / self._counts["transversions"]
        units = {name: "1" for name, value in counts.items() if not isinstance(value, str)}
        with_matrix = bool(self._samples) and self._with_genotypes
        return Table(
            "variants",
            counts,
            units,
            matrix=self._genotypes.astype(np.float64) if with_matrix else None,
            samples=self._samples,
            features=GENOTYPES if with_matrix else (),
            origin=self._file.origin(format),
        )

    def _broken(self, number: int, what: str) -> UnreadableError:
        return UnreadableError(
            f"'{self._file.name}', line {number}: there should be {what}; it is damaged or "
            "incomplete: copy it again from its source"
        )


def _genotype(call: str) -> int:
    """Index into ``GENOTYPES``; a call with any missing allele is missing."""
    alleles = call.replace("|", "/").split("/")
    if "." in alleles or not call:
        return 3
    if len(set(alleles)) > 1:
        return 1
    return 0 if alleles[0] == "0" else 2


def _cut(file: InputFile) -> UnreadableError:
    return UnreadableError(
        f"'{file.name}' is gzip that ends early or is damaged; copy it again from its source"
    )
