# ruff: noqa: E501 - a pattern reads best on one line
"""Rules for English: names by their titles, their place in a note and lists of names; places."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from pydicom._dicom_dict import DicomDictionary

from osler.io.deidentification import capitals, latin
from osler.io.deidentification.free_text import Passage

_HERE: Final = Path(__file__).parent

_WORD: Final = rf"(?:{latin.WORD}|[A-Z]{{2,}})"
_PARTICLES: Final = rf"(?:{latin.PARTICLE}[ \t]+){{0,3}}"
_NAME: Final = rf"{_PARTICLES}{_WORD}(?:[ \t]+{_PARTICLES}{_WORD}){{0,3}}"
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
    r"technologist|technician|sonographer|radiographer|photographer|grader|optometrist|orthoptist|"
    r"pathologist|cardiologist|ophthalmologist|oncologist|neurologist|psychiatrist|therapist|examiner|"
    r"nurse|midwife|pharmacist|registrar|reporter|signatory|secretary|recorded by|operator|author|ref|rad|tech|attn|cc|dear|mother|father|husband|wife|son|daughter|brother|"
    r"sister|guardian|next of kin|nok|contact|carer|from|to|sent by|witness(?:ed by)?|surgeon|assistant|an(?:a)?esthetist|interpreter)"
)
_HOSPITAL: Final = (
    r"(?:Hospitals?|Clinics?|Infirmary|Medical Cent(?:er|re)|Health Cent(?:er|re)|Healthcare|"
    r"Health System|Health|Hospice|University|College|Institute|Sanatorium|Nursing Home|"
    r"Care Home|Polyclinic|Cancer Cent(?:er|re)|Surgery Cent(?:er|re)|Medical Group|Imaging|"
    r"School|Church|Prison|NHS Trust|Foundation Trust|General|House|Lodge|Manor|Cottage|Surgery|"
    r"Practice|Hotel|Grange|Rectory|Vicarage|Farm|Nursery|Station|Eye Unit|Eye Centre)"
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
    (
        "NAME",
        re.compile(
            r"(?<![^\W\d_])(?<!['’-])(?P<it>(?:[^\W\d_]|['’-])+\^(?:[^\W\d_]|['’^ .-])*[^\W\d_])"
        ),
    ),
    (
        "NAME",
        re.compile(
            r"\b(?P<it>[A-Z][A-Za-z'’-]{1,40},[ \t]*[A-Z][a-z'’-]{1,40}(?:[ \t]+[A-Z]\.?)?)(?=[ \t]*(?:,|\(|M\.?D|MBBS|FRC|PhD|DO\b|RN\b))"
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
    (
        "PLACE",
        re.compile(
            rf"\b(?P<it>{_CITIES})\b(?![ \t]+(?i:coma|outcome|prognostic|plane|horizontal|criteria|classification|consensus|staging|score)\b)"
        ),
    ),
    (
        "PLACE",  # what stands before a postcode
        re.compile(
            rf"\b(?P<it>{_NAME}(?:,[ \t]*{_NAME}){{0,3}})[ \t,]{{0,5}}\(?(?:[A-Z]{{1,2}}\d[A-Z\d]?[ ]\d[A-Z]{{2}}|[A-Z]{{2}}[ ]\d{{5}})\b"
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
    (
        "NAME",  # "maiden name was van der Hoeven"
        re.compile(
            rf"\b(?i:(?:maiden|first|last|full|family|given|sur|birth)[ _-]?names?|(?:is|was) (?:called|named)|known as)[ \t]+(?i:is|was|as)?[ \t]*(?P<it>{_NAME})"
        ),
    ),
    (
        "NAME",  # KOWALCZYK, Bartosz
        re.compile(
            rf"(?<![^\W_])(?P<it>[{latin.UPPER}]{{3,}}(?:[-'’ ][{latin.UPPER}]{{2,}})?,[ \t]*{latin.WORD}(?:[ \t]+{latin.WORD}){{0,2}})(?![^\W_])"
        ),
    ),
    (
        "NAME",  # Rodriguez, Maria Del Carmen is
        re.compile(
            rf"(?<![^\W_])(?P<it>{latin.WORD},[ \t]*{latin.WORD}(?:[ \t]+{latin.WORD}){{0,2}})(?=[ \t]+(?:is|was|has|had|presents|presented|DOB|dob)\b)"
        ),
    ),
    (
        "NAME",  # who signed a note by initials
        re.compile(
            r"\b(?i:typed|dictated|signed|transcribed|entered)(?:[ \t]+(?:on[ \t]+)?[\d./-]{5,10})?[ \t]+by[ \t:]+(?P<it>[A-Za-z]{2,3})(?=[ \t]*(?:$|[\n.,;/]))"
        ),
    ),
    (
        "NAME",  # van der Hoeven, alone
        re.compile(
            rf"(?<![^\W_])(?P<it>(?:van|von|ter|bin|ibn|dos)[ \t]+(?:(?:der|den|de|la)[ \t]+)?[{latin.UPPER}][{latin.LOWER}]{{2,}})(?![ \t]+(?i:disease|syndrome|factor|sign|reflex))"
        ),
    ),
    (
        "AGE",
        re.compile(
            r"\b(?i:aged?(?:[ \t]+of|:)?)[ \t]*(?P<it>9[1-9]|1[0-2]\d)(?![\d.]|[ \t]*(?:%|mm|mg|kg|days|weeks|months|hours))"
        ),
    ),
    (
        "ID",
        re.compile(
            r"\b(?i:(?:lab|histology|specimen|sample|path(?:ology)?|case|file|chart|claim|batch|lot|implant|card|member|claim|invoice|booking)?[ \t]*(?:no|nr|number|num)\b\.?|driver'?s?[ \t]+licen[cs]e|medicare|medicaid|licen[cs]e|vehicle|plate|passport|insurance|policy)[ \t]*[:#=]?[ \t]*(?i:is[ \t]+)?(?P<it>(?=[A-Z\d/-]*\d[A-Z/-]*\d[A-Z/-]*\d)[A-Z\d]+(?:[/-][A-Z\d]+)*)(?![^\W_])"
        ),
    ),
    (
        "PLACE",  # a house, and what stands before the comma: Ward 3, Kingfisher House
        re.compile(
            r"\b(?P<it>(?i:ward|room|bed|bay|suite|unit|flat|apt\.?)[ \t]+[A-Z]?\d{1,4}[A-Z]?,[ \t]+(?:[A-Z][a-z'’]+[ \t]+){1,3}(?:House|Lodge|Manor|Cottage|Court|Wing|Block|Hospital|Home))\b"
        ),
    ),
    (
        "PLACE",  # a house with its number and a street that is no English one
        re.compile(
            rf"(?<![\d.,/])(?P<it>\d{{1,4}}[A-Za-z]?[ \t]+{latin.WORD}(?:[ \t]+[{latin.UPPER}{latin.LOWER}]{{1,12}}){{1,3}})(?=,[ \t]*[{latin.UPPER}][{latin.LOWER}]+[ \t]*,?[ \t]*[A-Z]{{1,2}}\d)"
        ),
    ),
)

# A surname that is a disease, a sign or a device when one of these words follows.
_EPONYM: Final = re.compile(
    r"['’]?s?[ \t-]+(?:disease|syndrome|sign|lymphoma|catheter|cyst|fracture|line|node|score|"
    r"classification|grade|stage|method|test|reflex|phenomenon|tumou?r|sarcoma|contracture|"
    r"deformity|hernia|pouch|ligament|space|body|bodies|drain|tube|stent|ulcer|gland|nodule|"
    r"procedure|thyroiditis|palsy|chorea|criteria|scale|index|effect|position|view|lobe|angle|ring|dots?|spots?|papilla|nodules|charts?|sutures?|"
    r"forceps|clips?|pearls|membranes?|canal|duct|fascia|plaques?|pits?|flecks?|manoeuvre|maneuver|"
    r"tonometry|stereotest|central|positive|negative|stages?|types?|law|point|wart|cells?|wool|"
    r"keratopathy|dystrophy|degeneration|retinopathy|maculopathy|uveitis|glaucoma|neuropathy|"
    r"macula|lines?|lamp|lens|probe|perimet(?:er|ry)|drops?|valve|implant|pupil|fossa|triad|"
    r"anastomosis|node|nodes|equation|formula|staining|stain|agar|grading|class|system)",
    re.IGNORECASE,
)
_CAPITALISED: Final = latin.CAPITALISED
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


@cache
def _products() -> frozenset[str]:
    return _words("products.txt")


@cache
def _eponyms() -> frozenset[str]:
    return _words("eponyms.txt")


def is_product(word: str) -> bool:
    """Whether a word with a capital is a drug or a device that anybody can buy."""
    return word in _products()


def is_known_thing(word: str) -> bool:
    """Whether a word with a capital is a product, or stands for what it first described."""
    return word in _products() or word in _eponyms()


def is_listed(word: str) -> bool:
    """Whether a list of names has a word, in any case, that is no word of English or medicine."""
    name = word.title()
    if name not in _given() and name not in _surnames():
        return False
    return not is_known_thing(name) and not capitals.is_word(word, not_names())


def find(text: str) -> Iterator[Passage]:
    """Passages of a text in English."""
    for passage in _find(text):
        yield _whole(text, passage) if passage.kind == "NAME" else passage


def _find(text: str) -> Iterator[Passage]:
    for kind, pattern in _RULES:
        for match in pattern.finditer(text):
            start, end = match.span("it")
            titled = _TITLED.search(text, max(0, start - 8), start)
            it = text[start:end]
            doubted = kind == "NAME" or (kind == "PLACE" and it.endswith(_ALSO_WORDS))
            if titled or not (doubted and _is_medical(it)):
                yield Passage(start, end, kind)
    yield from _listed(text)
    yield from capitals.find(text, medical=not_names(), eponym=_EPONYM, nobody=is_nobody)


_ALSO_WORDS: Final = ("Surgery", "Practice", "Imaging", "General", "Station", "Court", "House")


def _whole(text: str, passage: Passage) -> Passage:
    """A name with the initials and particles before it, and what is joined to it by a hyphen."""
    before = _BEFORE.search(text, max(0, passage.start - 20), passage.start)
    start = before.start() if before else passage.start
    after = _JOINED.match(text, passage.end)
    end = after.end() if after else passage.end
    while (more := _NEXT.match(text, end)) and end - start < 60:
        words = re.findall(r"[^\W\d_]{3,}", more[0])
        if any(capitals.is_word(w, not_names()) or w.title() in _eponyms() for w in words):
            break
        end = more.end()
    return Passage(start, end, passage.kind)


_TITLED: Final = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|DR|MR|MRS|MS)\.?[ \t]+\Z")
_BEFORE: Final = re.compile(
    rf"(?<![^\W_])(?:(?:[{latin.UPPER}]\.?[ \t]?-?){{1,3}}[ \t]+|{latin.PARTICLE}[ \t]+){{1,3}}\Z"
)
_JOINED: Final = re.compile(rf"(?:[-'’](?![sS]\b)[{latin.UPPER}{latin.LOWER}]+)+")
_NEXT: Final = re.compile(
    rf"[ \t]+(?:{latin.PARTICLE}[ \t]+){{0,2}}(?:al-|el-)?[{latin.UPPER}][{latin.LOWER}]{{2,}}(?:[-'’][{latin.UPPER}]?[{latin.LOWER}]+)*(?![^\W_])"
)


def is_nobody(text: str, match: re.Match[str]) -> bool:
    """Whether a capitalised word is a product, or a name that stands for what it first described.

    Such a name does, where a word follows that nobody does, or another such name is beside it.
    """
    word = re.sub(r"['’]s\Z", "", match[0])
    if _PHRASES.match(text, match.start()) or _PHRASES.match(text, max(0, match.start() - 5)):
        return True
    parts = word.split("-")
    if all(part in _products() for part in parts):
        return True
    if not all(part in _eponyms() or latin.plain(part) in _eponyms() for part in parts):
        return False
    if _PERSON_BEFORE.search(text, max(0, match.start() - 24), match.start()):
        return False
    if match[0] != word or _EPONYM.match(text, match.end()):
        return True
    after = _THING_AFTER.match(text, match.end())
    if after and not capitals.somebody_does(text, match.end()):
        return True
    listed = _LISTED_AFTER.match(text, match.end())
    if listed and listed[1] in _eponyms():
        return True
    return _THING_BEFORE.search(text, max(0, match.start() - 24), match.start()) is not None


_PHRASES: Final = re.compile(r"Ann Arbor|Carl Zeiss|St\.? John['’]?s wort")
_PERSON_BEFORE: Final = re.compile(
    rf"(?:\b{_TITLE}[ \t]+|[A-Z]\.[ \t]*|,[ \t]*|\b(?:{_ROLE})[ \t]*:[ \t]*)\Z"
    rf"(?<!\w,[ \t])(?<!\w,)"
)
_THING_AFTER: Final = re.compile(r"[ \t]+(?:[a-z]{3,}|\d)")
_LISTED_AFTER: Final = re.compile(
    rf"(?:,[ \t]*|[ \t]+(?:and|or|&)[ \t]+|-)([{latin.UPPER}][{latin.LOWER}]+)"
)
_THING_BEFORE: Final = re.compile(
    r"\b(?:[Cc]ircle of|pouch of|islets of|ampulla of|canal of|ligament of|tetralogy of|duct of|"
    r"angle of|loop of|space of|zonule of|modified|the|by|using|classification of)[ \t]+\Z"
)


def _is_medical(name: str) -> bool:
    """Whether all words of a supposed name are words of medicine or of everyday writing."""
    words = re.findall(r"[^\W\d_]+", name)
    return all(len(w) == 1 or w.casefold() in not_names() or w in _products() for w in words)


def _listed(text: str) -> Iterator[Passage]:
    """Names that a list of names knows: a given name, with what follows it, or a surname."""
    for match in _CAPITALISED.finditer(text):
        word, end = match[0], match.end()
        if _EPONYM.match(text, end) or is_nobody(text, match):
            continue
        if word in _given():
            after = _AFTER_GIVEN.match(text, end)
            if after and not _is_medical(after[0]):
                end = after.end()
            yield Passage(match.start(), end, "NAME")
        elif word in _surnames() and not capitals.may_be_word(text, match):
            yield Passage(match.start(), end, "NAME")
    for match in _OTHER_CASE.finditer(text):  # dermot; PATEL HARSHAD
        word = match[0].title()
        known = word in _given() or (match[0].isupper() and word in _surnames())
        if known and word not in _eponyms() and not capitals.is_word(match[0], not_names()):
            end = match.end()
            more = _SHOUTED.match(text, end) if match[0].isupper() else None
            if more and not capitals.is_word(more[1], not_names()):
                end = more.end()
            yield Passage(match.start(), end, "NAME")
    for match in _RELATIVE.finditer(text):
        it = match["it"]
        if it.title() in _given() or (len(it) > 3 and not capitals.is_word(it, not_names())):
            yield Passage(*match.span("it"), "NAME")


_OTHER_CASE: Final = re.compile(r"(?<![\w.@/-])(?:[a-z]{5,}|[A-Z]{4,})(?![\w@]|\.\w)")
_SHOUTED: Final = re.compile(r"[ \t]+([A-Z]{3,})(?![\w-])")
_RELATIVE: Final = re.compile(
    r"\b(?:son|daughter|wife|husband|brother|sister|mother|father|mum|dad|partner|witness|carer|friend|"
    r"nurse|neighbou?r|nok)[ \t]*[=:(]?[ \t]*(?P<it>[a-z]{3,})\b"
)
