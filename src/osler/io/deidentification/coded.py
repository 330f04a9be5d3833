"""Values that stand for one of a list (VR CS), and bytes: what in them may be a person's name.

The standard lists what most coded strings may say, but devices write more, and a program that takes
any text writes a name as easily. So a value stays where it is made of words that imaging, medicine,
English or the standard's own lists use; bytes stay where an image needs them and hold no words.
"""

import re
from functools import cache
from typing import Final

from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from osler.io.deidentification import descriptors, text_rules_en

_LETTERS: Final = re.compile(r"[^\W\d_]+")

# Curves, surfaces, tables of colours, fields and waves: numbers that are of use.
_NUMBERS: Final = re.compile(
    r"(?:PaletteColor|Gray|Blending|Filter|Weighting)LookupTableData\Z|LUTData\Z|Lookup\w*Data\Z|"
    r"Point\w*(?:Data|List|s)\Z|VectorGridData\Z|VectorCoordinateData\Z|\w*IndexList\Z|"
    r"[UV]ValueData\Z|ThicknessMap\Z|BlockEdgeData\Z|\w*MapData\Z|Waveform(?:Data|PaddingValue)\Z|"
    r"Channel(?:Minimum|Maximum)Value\Z|SpectroscopyData\Z|FirstOrderPhaseCorrectionAngle\Z|"
    r"FloatingPointValues\Z|RecommendedDisplayCIELabValueList\Z|VerticesOfThePolygonalOutline\Z|"
    r"VolumetricCurve\w+\Z"
)
TECHNICAL: Final = re.compile(
    r"\w*Manufacturer\w*|PulseSequenceName|ConvolutionKernel|\w*Coil\w*Name|Lens(?:Make|Model)|"
    r"Filter(?:Type|Material)|CollimatorGridName|Radiopharmaceutical|DimensionDescriptionLabel|"
    r"\w*Algorithm(?:Name|Version|Source)"
)
"""What a maker or a program calls parts and methods, in words of its own: names need a sign."""

_SPOKEN: Final = re.compile(rb"[A-Za-z ,.^'=\-\0]{4,256}")


def is_term(value: str) -> bool:
    """Whether a coded string is made of words that terms are made of."""
    words = _LETTERS.findall(value)
    return all(_is_word_of_terms(word) for word in words)


@cache
def _is_word_of_terms(word: str) -> bool:
    if not word.isascii():
        return False
    if len(word) < 4:
        return True
    if text_rules_en.is_listed(word) and word.casefold() not in descriptors.IMAGING:
        return False
    return descriptors.stays(word) or _is_compound(word.casefold())


def _is_compound(word: str) -> bool:
    """Whether a word is several words of imaging in a row: NECKCHEST."""
    return any(
        word[:at] in descriptors.IMAGING
        and (word[at:] in descriptors.IMAGING or _is_compound(word[at:]))
        for at in range(4, len(word) - 3)
    )


def holds_numbers(tag: BaseTag, data: bytes) -> bool:
    """Whether bytes are of an attribute that an image needs, and no words.

    Args:
        tag: the attribute; private ones and pixels are not asked about.
        data: its value.
    """
    if _NUMBERS.search(keyword_for_tag(tag)) is None:
        return False
    spoken = _SPOKEN.fullmatch(data) is not None and sum(chr(c).isalpha() for c in data) > 3
    return not spoken or list(data) == sorted(data)  # a ramp of grey levels holds the alphabet


def is_published(scheme: str) -> bool:
    """Whether a coding scheme is one that anybody can look up, not a hospital's or a maker's."""
    return scheme in _PUBLISHED or scheme.startswith(
        ("HL7", "ISO", "IEC", "RFC", "I10", "I9", "IHE")
    )


_SCHEMES: Final = (
    "DCM SCT SRT SNM3 SNM SNOMED 99SDM LN LOINC UCUM RADLEX RADELEMENT RPID UMLS ICD9 ICD10 ICD11 "
    "ICD-O FMA MSH NCIt NICIP BARI BI BI-RADS CD2 C4 C5 HPC HCPT CPT CAMRTCAP CTV3 DCMUID DCMR "
    "IBSI ITIS_TSN MDC MDDX MDNS NDC NEU PATHLEX POS PUBCHEM_CID RXNORM SCPECG UBERON UNS UPC RO "
    "RADLIB ACR ATC EUCAST GLN MA MAYOASRG NYUMCCG CVX OMIM HGNC HPO ORPHA UNII"
)
_PUBLISHED: Final = frozenset(_SCHEMES.split())
_URL: Final = re.compile(
    r"urn:(?:oid|uuid|iso|ietf|hl7|lex|ihe)[\w:.+-]*|"
    r"https?://(?:[\w-]+\.)*(?:nema\.org|snomed\.(?:info|org)|ihtsdo\.org|loinc\.org|hl7\.org|"
    r"unitsofmeasure\.org|radlex\.org|rsna\.org|bioontology\.org|nih\.gov|who\.int|w3\.org|"
    r"iso\.org|ieee\.org|uberon\.org|obofoundry\.org|ibsi\.org)(?:/[\w./#%-]*)?"
)


def is_published_url(text: str) -> bool:
    """Whether an address is that of a published coding scheme."""
    return _URL.fullmatch(text.strip()) is not None
