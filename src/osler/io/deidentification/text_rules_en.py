# ruff: noqa: E501 - a pattern reads best on one line
"""Rules for English: names by their titles, their place in a note and lists of names; places."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from osler.io.deidentification import capitals
from osler.io.deidentification.free_text import Passage

_HERE: Final = Path(__file__).parent

_WORD: Final = r"(?:[A-Z](?:[a-zà-öø-ÿ]+|['’][A-Z][a-zà-öø-ÿ]+|\.|(?=[ \t,.;]))(?:[-'’][A-Z]?[a-zà-öø-ÿ]+)*|[A-Z]{2,})"
_NAME: Final = rf"(?:(?:de|van|von|der|den|la|le|bin|al|el|del|di|da)[ \t]+)*{_WORD}(?:[ \t]+(?:(?:de|van|von|der|den|la|le|bin|al|el|del|di|da)[ \t]+)*{_WORD}){{0,3}}"
_TITLE: Final = (
    r"(?:Dr|Drs|DR|Prof|Professor|Doctor|Mr|Mrs|Ms|Miss|Mx|Sir|Dame|Rev|Nurse|Sister|Matron|"
    r"Consultant|Radiologist|Registrar|Attending|Resident|Surgeon|Physician|Technologist|"
    r"Radiographer|Sonographer|Cardiologist|Oncologist|Neurologist|Pathologist|SpR|SHO|Herr|Frau|"
    r"Fr|Hr|Mme|Mlle|Dott|Dra|Sra?|Dhr|Mw|Mevr)\.?"
)
_ROLE: Final = (
    r"(?:(?:patient(?:'s)?|full|first|last|sur|given|family|maiden|next of kin)[ _-]*names?|name|"
    r"patient|pt|(?:refer(?:red|ring)|report(?:ed|ing)|sign(?:ed)?|dictat(?:ed|ing)|review(?:ed)?|"
    r"verif(?:ied)?|approv(?:ed)?|transcrib(?:ed)?|authori[sz]ed|perform(?:ed)?|order(?:ed|ing)?|"
    r"request(?:ed|ing)|attend(?:ing)?|admit(?:ted|ting)?|electronically signed|read|seen|"
    r"discussed|communicated|called|spoke|spoken|conveyed|notified|informed|told|paged|known)"
    r"(?:[ \t]+(?:physician|doctor|clinician|radiologist|consultant|provider))?"
    r"(?:[ \t]+(?:by|to|with|as))?|physician|doctor|clinician|radiologist|consultant|provider|"
    r"technologist|operator|author|ref|rad|tech|attn|cc|dear|mother|father|husband|wife|son|daughter|brother|"
    r"sister|guardian|next of kin|contact|carer)"
)
_HOSPITAL: Final = (
    r"(?:Hospitals?|Clinics?|Infirmary|Medical Cent(?:er|re)|Health Cent(?:er|re)|Healthcare|"
    r"Health System|Health|Hospice|University|College|Institute|Sanatorium|Nursing Home|"
    r"Care Home|Polyclinic|Cancer Cent(?:er|re)|Surgery Cent(?:er|re)|Medical Group|Imaging|"
    r"School|Church|Prison|NHS Trust|Foundation Trust|General)"
)
_STREET: Final = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Way|Court|Ct|Place|Pl|"
    r"Square|Sq|Terrace|Crescent|Close|Parkway|Highway|Hwy|Gardens|Mews)\b\.?"
)
_CITIES: Final = (
    r"(?:New York|Los Angeles|Chicago|Houston|Phoenix|Philadelphia|San (?:Antonio|Diego|Francisco|"
    r"Jose)|Dallas|Austin|Boston|Baltimore|Seattle|Denver|Detroit|Miami|Atlanta|Cleveland|Rochester|"
    r"Minneapolis|Pittsburgh|London|Manchester|Birmingham|Leeds|Glasgow|Edinburgh|Liverpool|Bristol|"
    r"Oxford|Cambridge|Dublin|Belfast|Cardiff|Sheffield|Paris|Lyon|Marseille|Berlin|Munich|Hamburg|"
    r"Frankfurt|Cologne|Vienna|Zurich|Geneva|Milan|Rome|Naples|Turin|Bergamo|Brescia|Madrid|"
    r"Barcelona|Valencia|Lisbon|Amsterdam|Rotterdam|Utrecht|Brussels|Copenhagen|Stockholm|Oslo|"
    r"Helsinki|Warsaw|Prague|Budapest|Athens|Istanbul|Moscow|Delhi|Mumbai|Bangalore|Chennai|"
    r"Hyderabad|Kolkata|Karachi|Lahore|Dhaka|Bangkok|Singapore|Jakarta|Manila|Hanoi|Seoul|Tokyo|"
    r"Osaka|Kyoto|Beijing|Shanghai|Guangzhou|Shenzhen|Wuhan|Chengdu|Hangzhou|Nanjing|Xi'an|"
    r"Chongqing|Tianjin|Hong Kong|Macau|Taipei|Sydney|Melbourne|Brisbane|Perth|Auckland|Toronto|"
    r"Montreal|Vancouver|Ottawa|Calgary|Mexico City|Bogot[aá]|Lima|Santiago|Buenos Aires|"
    r"S[aã]o Paulo|Rio de Janeiro|Cairo|Lagos|Nairobi|Johannesburg|Cape Town|Tehran|Qom|Baghdad|"
    r"Riyadh|Jeddah|Dubai|Doha|Tel Aviv|Jerusalem|Hubei|Guangdong|Zhejiang|Hunan|Lombardy)"
)

_RULES: Final = (
    ("NAME", re.compile(rf"\b{_TITLE}[ \t]+(?P<it>{_NAME})")),
    (
        "NAME",
        re.compile(
            rf"\b(?i:{_ROLE})[ \t]*[:：=][ \t]*(?:{_TITLE}[ \t]+)?(?P<it>{_NAME}(?:,[ \t]*{_NAME})?)"
        ),
    ),
    (
        "NAME",
        re.compile(
            rf"\b(?i:{_ROLE})[ \t]*[:：=][ \t]*(?P<it>[a-z]+[ \t,]+[a-z]+)(?=[ \t]*(?:$|[\n;,|.]))"
        ),
    ),
    (
        "NAME",
        re.compile(
            rf"\b(?i:(?:signed|dictated|reported|reviewed|referred|verified|approved|transcribed|performed|ordered|requested|read|seen|discussed|communicated|conveyed|spoken|spoke)(?:[ \t]+(?:electronically|over the phone))?[ \t]+(?:by|to|with))[ \t]+(?:{_TITLE}[ \t]+)?(?P<it>{_NAME})"
        ),
    ),
    ("NAME", re.compile(r"(?P<it>(?:[^\W\d_]|['’-])+\^(?:[^\W\d_]|['’^ .-])*[^\W\d_])")),
    (
        "NAME",
        re.compile(
            r"\b(?P<it>[A-Z][A-Za-z'’-]+,[ \t]*[A-Z][a-z'’-]+(?:[ \t]+[A-Z]\.?)?)(?=[ \t]*(?:,|\(|M\.?D|MBBS|FRC|PhD|DO\b|RN\b))"
        ),
    ),
    (
        "NAME",
        re.compile(
            rf"\b(?P<it>{_NAME}),?[ \t]+(?:M\.?D\.?|MBBS|FRCR|FRCP|FRCS|Ph\.?D\.?|D\.?O\.|RN|PA-C|NP)(?![A-Za-z])"
        ),
    ),
    (
        "NAME",
        re.compile(
            rf"\b(?i:mother|father|husband|wife|son|daughter|brother|sister|aunt|uncle|cousin|partner|guardian|carer|friend|grandmother|grandfather|neighbou?r|named|called)[ \t]+\(?(?P<it>{_NAME})"
        ),
    ),
    (
        "PLACE",
        re.compile(
            rf"\b(?P<it>(?:(?:St\.?|{_WORD}|of|the|and|&)[ \t]+){{1,6}}{_HOSPITAL}(?:[ \t]+of(?:[ \t]+{_WORD}){{1,3}})?)\b"
        ),
    ),
    (
        "PLACE",
        re.compile(
            rf"\b(?P<it>(?:University|Hospital|Institute|College|City|State|Town|Village|County)[ \t]+of(?:[ \t]+the)?(?:[ \t]+{_WORD}){{1,3}})"
        ),
    ),
    (
        "PLACE",
        re.compile(
            rf"(?P<it>(?<![\d.])\d{{1,5}}[A-Za-z]?,?(?:[ \t]+{_WORD}){{1,3}}[ \t]+{_STREET}(?:,?[ \t]*(?:Apt|Suite|Unit|Flat|#)\.?[ \t]*\w+)?)"
        ),
    ),
    (
        "NAME",
        re.compile(
            rf"\b(?i:signed|verified|reported|dictated|reviewed|approved|ref)[ \t]+(?P<it>{_NAME})(?=[ \t]*(?:$|[\n,;/|.]|\d|on\b|at\b))"
        ),
    ),
    ("NAME", re.compile(r"(?P<it>\b[A-Z]{2,}(?:[-'][A-Z]+)?,[ \t]*[A-Z]{2,}(?:[ \t]+[A-Z]\b)?)")),
    ("PLACE", re.compile(rf"\b(?P<it>{_CITIES})\b")),
    (
        "PLACE",  # what stands before a postcode
        re.compile(
            rf"\b(?P<it>{_NAME}(?:,[ \t]*{_NAME})*)[ \t,]*\(?(?:[A-Z]{{1,2}}\d[A-Z\d]?[ ]\d[A-Z]{{2}}|[A-Z]{{2}}[ ]\d{{5}})\b"
        ),
    ),
    (
        "PLACE",
        re.compile(
            r"\b(?P<it>(?:[A-Z][a-z'’]+[ \t]+){1,3}(?:Street|Road|Avenue|Lane|Boulevard|Crescent|Terrace|Mews|Gardens|Parkway))\b"
        ),
    ),
    (
        "PLACE",
        re.compile(
            r"\b(?i:lives?|living|resid\w+|address)[ \t]*(?i:at|in|on|is|:)[ \t]+(?P<it>(?:the[ \t]+)?[A-Z][^\n.;()]{2,60}?)(?=[ \t]+(?:with|and|alone|since|who|where|tel|phone)\b|[.;\n()]|$)"
        ),
    ),
    (
        "PLACE",
        re.compile(
            r"\b(?P<it>[A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2})\b(?<!MM)(?<!CM)(?<!ML)(?<!MG)(?<!KG)"
        ),
    ),
    ("PLACE", re.compile(r"(?<=[A-Z]{2}[ ,])[ ]*(?P<it>\d{5}(?:-\d{4})?)\b")),
    (
        "PLACE",
        re.compile(
            r"\b(?i:ward|room|bed|bay|clinic|flat|apt|P\.?O\.? box)[ \t]*(?:no\.?|number|#|:)?[ \t]*(?P<it>[A-Z]?\d+[A-Z]?)\b"
        ),
    ),
    (
        "PLACE",
        re.compile(
            rf"\b(?i:lives? in|resid(?:es|ent|ing) (?:in|of|at)|(?:comes|came|moved|travel?led|returned|flew|transferred) (?:from|to)|native of|born in|employed (?:at|by)|works? (?:at|for|in))[ \t]+(?:the[ \t]+)?(?P<it>{_NAME})"
        ),
    ),
    (
        "ID",
        re.compile(
            r"\b(?i:bleep|hosp(?:ital)?\.?[ \t]*(?:id|number|no\.?)|reg(?:istration)?\.?[ \t]*(?:number|no\.?)?|MRN|medical record(?: (?:number|no\.?))?|record(?: (?:number|no\.?))|accession(?: (?:number|no\.?))?|acc(?:ession)?|patient[ _-]?(?:id|number|no\.?)|hospital (?:id|number|no\.?)|nhs(?: (?:number|no\.?))?|ssn|insurance(?: (?:id|number|no\.?))?|policy(?: (?:number|no\.?))?|licen[cs]e(?: (?:number|no\.?))?|passport(?: (?:number|no\.?))?|account(?: (?:number|no\.?))?|case (?:number|no\.?)|study (?:id|number|no\.?)|order (?:id|number|no\.?)|encounter(?: (?:id|number|no\.?))?|visit (?:id|number|no\.?)|serial(?: (?:number|no\.?))?|IDs?|reference|ref|pager|ext(?:ension)?|phone|tel(?:ephone)?|fax|mobile|cell)\.?[ \t]*(?:is|[:：#=])?[ \t]*#?[ \t]*(?P<it>(?=[A-Za-z\d/-]*\d)[A-Za-z]{0,4}[\d][A-Za-z\d/-]*(?:[ ]\d{2,})*)"
        ),
    ),
)

# A surname that is a disease, a sign or a device when one of these words follows.
_EPONYM: Final = re.compile(
    r"['’]?s?[ \t-]+(?:disease|syndrome|sign|lymphoma|catheter|cyst|fracture|line|node|score|"
    r"classification|grade|stage|method|test|reflex|phenomenon|tumou?r|sarcoma|contracture|"
    r"deformity|hernia|pouch|ligament|space|body|bodies|drain|tube|stent|ulcer|gland|nodule|"
    r"procedure|thyroiditis|palsy|chorea|criteria|scale|index|effect|position|view|lobe|angle)",
    re.IGNORECASE,
)
_CAPITALISED: Final = re.compile(r"\b[A-Z][a-zà-öø-ÿ]+(?:[-'’][A-Z]?[a-zà-öø-ÿ]+)*\b")
_AFTER_GIVEN: Final = re.compile(rf"(?:[ \t]+[A-Z]\.?)?[ \t]+(?:{_WORD})")


@cache
def _given() -> frozenset[str]:
    return _words("given_names.txt") - _words("name_like_words.txt")


@cache
def _surnames() -> frozenset[str]:
    return _words("surnames.txt") - _words("name_like_words.txt")


@cache
def not_names() -> frozenset[str]:
    """Words of medicine: our own list, and those of DICOM's dictionary and coded concepts."""
    from pydicom.sr._concepts_dict import concepts

    words = {w.casefold() for w in _words("medical_words.txt")}
    names = [keyword for scheme in concepts.values() for keyword in scheme]
    names += [entry[4] for entry in DicomDictionary.values()]
    words.update(w.casefold() for name in names for w in re.findall("[A-Z][a-z]+|[A-Z]+", name))
    people = _words("given_names.txt") | _words("surnames.txt")
    return frozenset(words - {w.casefold() for w in people - _words("name_like_words.txt")})


def _words(name: str) -> frozenset[str]:
    return frozenset((_HERE / name).read_text("utf-8").split("\n"))


def find(text: str) -> Iterator[Passage]:
    """Passages of a text in English."""
    for kind, pattern in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span("it")
            if kind != "NAME" or not _is_medical(text[start:end]):
                yield Passage(start, end, kind)
    yield from _listed(text)
    yield from capitals.find(text, medical=not_names(), eponym=_EPONYM)


def _is_medical(name: str) -> bool:
    """Whether all words of a supposed name are words of medicine or of everyday writing."""
    words = re.findall(r"[A-Za-zà-öø-ÿ]+", name)
    return all(len(w) == 1 or w.casefold() in not_names() for w in words)


def _listed(text: str) -> Iterator[Passage]:
    """Names that a list of names knows: a given name, with what follows it, or a surname."""
    for match in _CAPITALISED.finditer(text):
        word, end = match[0], match.end()
        if _EPONYM.match(text, end):
            continue
        if word in _given():
            after = _AFTER_GIVEN.match(text, end)
            if after and not _is_medical(after[0]):
                end = after.end()
            yield Passage(match.start(), end, "NAME")
        elif word in _surnames():
            yield Passage(match.start(), end, "NAME")
