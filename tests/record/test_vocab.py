import re

import pytest
from pydicom.sr._concepts_dict import concepts

from osler.record import Code, vocab
from osler.retina import definitions

CODES = {
    *(v for v in vars(vocab).values() if isinstance(v, Code)),
    *(c for s in vocab.STRUCTURES.values() for c in (s.category, s.type, s.site)),
    *vocab.LABELS.values(),
    *(c for values in vocab.VALUES.values() for c in values.values()),
    *vocab.MEASURES.values(),
    *vocab.METHODS.values(),
    *vocab.UNITS.values(),
}

# what pydicom does not ship, and where it was checked
ELSEWHERE = {
    "18944008": "HL7 eye-care value sets",
    "8966001": "HL7 eye-care value sets",
    "4855003": "eCQM Diabetic Retinopathy",
    "312912001": "eCQM Macular Edema Findings Present",
    "C0034375": "HL7 guide DICOM SR to FHIR",
    "LA18643-9": "LOINC LL2117-1",
    "LA18644-7": "LOINC LL2117-1",
    "LA18645-4": "LOINC LL2117-1",
    "LA18646-2": "LOINC LL2117-1",
    "LA18648-8": "LOINC LL2117-1",
}


def shipped(code: Code) -> set[str]:
    """The meanings that pydicom's dictionaries give for a code."""
    return {
        re.sub(r" \([a-z ]+\)$", "", meaning.lower())  # "(body structure)" and the like
        for entries in concepts[code.scheme].values()
        for value, (meaning, _) in entries.items()
        if value == code.value
    }


@pytest.mark.parametrize("code", sorted(CODES, key=lambda c: (c.scheme, c.value)), ids=str)
def test_a_code_is_known_elsewhere_or_our_own(code: Code) -> None:
    if code.scheme == vocab.LOCAL:
        assert re.fullmatch(r"[a-z0-9-]{1,16}", code.value)
    elif code.scheme == "UCUM":
        assert "{" in code.value or code.value == "rad" or shipped(code)
    elif code.value not in ELSEWHERE:
        assert code.meaning.lower() in shipped(code)
    assert 0 < len(code.meaning) <= 64
    assert code.scheme in vocab.SYSTEM_URLS


@pytest.mark.parametrize("value", sorted(c.value for c in CODES if c.scheme == "SCT"))
def test_a_snomed_code_has_a_right_check_digit(value: str) -> None:
    """The last digit of a SNOMED CT identifier is a Verhoeff check of the others."""
    times = [[(i // 5 * 5 + 0) for i in range(10)] for _ in range(10)]
    for a in range(10):
        for b in range(10):
            low = (a % 5 + b % 5) % 5 if a < 5 else (a % 5 - b % 5) % 5
            times[a][b] = low if (a < 5) == (b < 5) else low + 5
    permute = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        permute.append([permute[1][i] for i in permute[-1]])
    check = 0
    for place, digit in enumerate(reversed(value)):
        check = times[check][permute[place % 8][int(digit)]]
    assert check == 0


def test_one_value_has_one_meaning() -> None:
    seen: dict[tuple[str, str], str] = {}
    for code in CODES:
        assert seen.setdefault((code.scheme, code.value), code.meaning) == code.meaning


def test_a_measurement_is_known_by_its_parts() -> None:
    assert vocab.measure("cdr.vertical").value == "cdr-vertical"
    assert vocab.measure("fractal-dimension.all") == vocab.FRACTAL_DIMENSION
    assert vocab.method("avr.hubbard").value == "hubbard-1999"
    assert vocab.method("density.artery") is None
    assert vocab.region("median-diameter.vein.zone-b") == vocab.ZONE_B
    assert vocab.region("crae.knudtson", "zone C") == vocab.ZONE_C
    assert vocab.region("tortuosity.artery") is None


def test_every_measure_of_the_retina_has_a_concept_and_a_unit() -> None:
    for name, definition in definitions.MEASURES.items():
        assert name.split("/")[0] in {*vocab.MEASURES, "cdr"}
        assert definition.unit in vocab.UNITS


def test_what_is_not_known_gets_a_code_of_our_own() -> None:
    assert vocab.measure("new-measure.artery", "New measure") == Code(
        "new-measure", vocab.LOCAL, "New measure"
    )
    assert vocab.structure("drusen", "Drusen").type.value == "drusen"
    assert vocab.value("dr-grade", "9", "ungradable").value == "dr-grade-9"
    assert vocab.local(" é ", "x" * 90) == Code("unnamed", vocab.LOCAL, "x" * 64)
    assert not vocab.standard(vocab.label("anything"))


def test_a_pixel_is_not_a_unit_of_ucum() -> None:
    assert vocab.unit("[pix_i]").value == "{pixels}"
    assert vocab.unit("mmHg").value == "mmHg"
