# ruff: noqa: E501 - lists of words
"""What a sentence of a report can speak of, and what each finding is about, as shared tags.

A number is compared with a finding where both have a tag in common: ``lesion-count.haemorrhages``
is about ``count`` and ``haemorrhages``, and so is "12 haemorrhages".
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final

from osler.io.wording import UNITS
from osler.language.facts import Fact
from osler.language.findings_vocabulary import Shared, vocabulary
from osler.language.terms import Found, Phrases, Token, tokens

LESIONS: Final = ("microaneurysms", "haemorrhages", "hard-exudates", "soft-exudates")

STRUCTURES: Final = (*LESIONS, "artery", "vein", "vessels", "disc", "cup", "fovea", "field")
"""Tags of things, of which a number is about one."""

PLACES: Final = ("disc", "cup", "fovea", "field", "vessels", "artery", "vein")
"""Tags that a sentence may name as a place without saying that anything is there."""

QUALIFIERS: Final = (
    "vertical",
    "horizontal",
    "by-area",
    "knudtson",
    "hubbard",
    "zone-b",
    "zone-c",
    "whole",
    "ratio",
)

# Tag: English phrases, Chinese phrases. Spelling and plurals are evened out by `terms`.
_TOPICS: Final[Mapping[str, tuple[str, str]]] = {
    "microaneurysms": ("microaneurysm|MAs|MA|capillary aneurysm", "微动脉瘤|微血管瘤|微动脉血管瘤"),
    "haemorrhages": ("haemorrhage|retinal haemorrhage|bleeding|dot haemorrhage|blot haemorrhage|dot and blot haemorrhage", "出血|视网膜出血|眼底出血|出血点|出血斑"),
    "hard-exudates": ("hard exudate|lipid exudate", "硬性渗出|硬渗|硬性渗出物"),
    "soft-exudates": ("soft exudate|cotton wool spot|cotton wool|CWS", "软性渗出|棉絮斑|棉絮样斑|软性渗出物"),
    "exudates": ("exudate|exudation", "渗出|渗出物"),
    "lesions": ("lesion|retinal lesion|diabetic lesion", "病灶"),
    "disc": ("optic disc|disc|disk|optic nerve head", "视盘|视乳头|视神经盘"),
    "cup": ("optic cup|cup", "视杯"),
    "fovea": ("fovea|foveal centre|macular centre|foveola", "中心凹|黄斑中心凹|黄斑中心"),
    "field": ("field of view", "视野范围|视场"),
    "vessels": ("vessel|blood vessel|retinal vessel|vasculature|vascular tree", "血管|视网膜血管"),
    "artery": ("artery|arteriole|arterial|arteriolar", "动脉|小动脉"),
    "vein": ("vein|venule|venous|venular", "静脉|小静脉"),
    "cdr": ("cup to disc ratio|cup disc ratio|cup / disc ratio|cdr|c / d ratio|c / d", "杯盘比"),
    "avr": ("artery to vein ratio|arteriovenous ratio|arteriole to venule ratio|arterio venous ratio|avr|a / v ratio|av ratio", "动静脉比|动静脉管径比"),
    "crae": ("crae|central retinal artery equivalent|central retinal arteriolar equivalent", "视网膜中央动脉当量|中央动脉当量"),
    "crve": ("crve|central retinal vein equivalent|central retinal venular equivalent", "视网膜中央静脉当量|中央静脉当量"),
    "tortuosity": ("tortuosity", "迂曲度|迂曲"),
    "tortuosity-density": ("tortuosity density", "迂曲密度"),
    "density": ("vessel density|vascular density", "血管密度"),
    "fractal-dimension": ("fractal dimension|box counting dimension", "分形维数|分形维度"),
    "information-dimension": ("information dimension", "信息维数"),
    "correlation-dimension": ("correlation dimension", "关联维数"),
    "bifurcations": ("bifurcation|branching point", "分叉|分叉数|分叉点"),
    "temporal-angle": ("temporal angle|main temporal angle|arcade angle|temporal arcade", "颞侧主夹角|颞侧夹角"),
    "diameter": ("diameter|calibre|width", "管径|直径|中位管径"),
    "quadrants": ("quadrant", "象限"),
    "far": ("distance|from the fovea|away from the fovea|nearest|closest|reach the fovea|reaches the fovea", "距中心凹|距黄斑中心凹|最近处|距离|累及中心凹"),
    "size": ("area|covering|total area", "面积"),
    "count": ("number|count|number of", "数量|数目"),
    "vertical": ("vertical|vertically", "垂直"),
    "horizontal": ("horizontal|horizontally", "水平"),
    "by-area": ("by area", "面积比"),
    "knudtson": ("knudtson", ""),
    "hubbard": ("hubbard", ""),
    "zone-b": ("zone b", "b区|b 区"),
    "zone-c": ("zone c", "c区|c 区"),
    "ratio": ("artery to vein", "动静脉之比"),
    "retinopathy": ("retinopathy|diabetic retinopathy|dr|npdr|non proliferative retinopathy|non proliferative diabetic retinopathy|diabetic changes", "糖尿病视网膜病变|糖尿病性视网膜病变|视网膜病变|糖网病|糖网"),
    "dr-grade": ("retinopathy grade|dr grade|grade of retinopathy|grade of diabetic retinopathy|diabetic retinopathy grade|retinopathy severity|severity of retinopathy|severity of diabetic retinopathy|icdr", "糖尿病视网膜病变分级|视网膜病变分级"),
    "dr-referable": ("referable|referable diabetic retinopathy|referable retinopathy|referral|refer|referred|see an ophthalmologist|seen by an ophthalmologist", "转诊|需转诊|需转诊的糖尿病视网膜病变|转诊的糖尿病视网膜病变"),
    "oedema": ("macular oedema|diabetic macular oedema|dme|dmo|oedema of the macula", "黄斑水肿|糖尿病性黄斑水肿|糖尿病黄斑水肿"),
    "dme-risk": ("risk of macular oedema|risk of diabetic macular oedema|macular oedema risk|risk for macular oedema|dme risk|risk of dme|oedema risk", "黄斑水肿风险|黄斑水肿的风险|糖尿病性黄斑水肿风险"),
    "quality": ("image quality|quality", "图像质量|照片质量|质量"),
    "photograph": ("fundus photograph|fundus image", "眼底照片|眼底图像"),
    "scale": ("scale|pixel spacing", "比例尺|像素间距"),
    "normal": ("normal fundus|normal retina|healthy retina|healthy fundus|no abnormality|unremarkable|no abnormalities", "眼底正常|未见异常|未见明显异常"),
    # what no finding of a photograph of the fundus tells, besides what the vocabulary names
    "beyond:kind of lesion": ("flame shaped|flame|subretinal|sub retinal|preretinal|pre retinal|intraretinal|intra retinal|subhyaloid|sub hyaloid|roth spot", "火焰状|火焰样|视网膜下|视网膜前|玻璃体积血|线状"),
    "beyond:age of lesion": ("fresh|new|newly|old|older|recent|acute|chronic|long standing", "新鲜|新发|新出现|新的|急性|慢性|陈旧"),
    "beyond:size of lesion": ("large|larger|small|smaller|tiny|huge|giant", "大片|大块|小片|巨大|较大|较小|细小"),
    "beyond:place": ("nasal|nasally|temporal|temporally|superior|superiorly|inferior|inferiorly|superonasal|superotemporal|inferonasal|inferotemporal|peripheral|periphery|posterior pole|above the disc|below the disc", "鼻侧|颞侧|鼻上|颞上|鼻下|颞下|上方|下方|周边部|后极部"),
    "beyond:treatment": ("metformin|tablet|medicine|stop taking|treatment|treat|treated|therapy|drug|medication|injection|injected|laser|photocoagulation|surgery|vitrectomy|operation|anti vegf|dose|prescribe|insulin|mg", "二甲双胍|停用|停药|服用|治疗|用药|药物|注射|激光|手术|光凝|剂量|胰岛素"),
    "beyond:vision": ("visual acuity|visual loss|vision|blind|blindness|intraocular pressure|iop", "视力|失明|眼压"),
    "beyond:blood tests": ("hba1c|blood glucose|blood sugar|cholesterol|blood pressure", "糖化血红蛋白|血糖|血压|胆固醇"),
    "beyond:course": ("last year|last month|last time|than before|than previously|earlier visit|since the last visit|since last visit|progressed|progression|worsened|improved|stable|unchanged|compared with|prognosis|previous|prior", "去年|上次|以前|增多|减少|与上次|较前|进展|加重|好转|稳定|预后|既往"),
    "beyond:cause": ("due to|because|because of|owing to|caused by|secondary to|as a result of|explained by", "由于|因为|所致|引起|导致"),
    "beyond:urgency": ("urgent|urgently|emergency|immediately|follow up|within a week", "紧急|立即|急诊|随访|复查"),
    "beyond:instructions": ("ignore|instruction|disregard|system prompt|http|https|www|phone|call", "忽略|指示|指令|无视|电话|网址"),
    "beyond:person": ("year old|years old|male|female|man|woman|smoker", "岁|男性|女性|吸烟"),
}  # fmt: skip

# concept of the vocabulary: our tag
_CONCEPTS: Final = {
    "microaneurysm": "microaneurysms", "retinal-haemorrhage": "haemorrhages",
    "hard-exudate": "hard-exudates", "cotton-wool-spot": "soft-exudates",
    "diabetic-retinopathy": "retinopathy", "npdr": "retinopathy", "macular-oedema": "oedema",
    "diabetic-macular-oedema": "oedema", "normal-fundus": "normal",
}  # fmt: skip

SEVERITY: Final = {
    "mild": "1", "moderate": "2", "severe": "3", "轻度": "1", "中度": "2", "重度": "3",
}  # fmt: skip
"""Words of severity, and the grade of retinopathy that each stands for."""

_FIRST: Final[Mapping[str, tuple[str, ...]]] = {
    "lesion-count": ("count",), "lesion-quadrants": ("quadrants",), "lesion-area": ("size",),
    "lesion-fovea-distance": ("far", "fovea"), "median-diameter": ("diameter",),
    "diameter-std": ("diameter", "variability"), "diameter-cvme": ("diameter", "variability"),
    "disc-diameter": ("disc", "diameter"), "field-diameter": ("field", "diameter"),
    "disc-fovea-distance": ("disc", "fovea", "far"), "cdr": ("cdr", "cup", "disc"),
    "avr": ("avr", "artery", "vein"), "crae": ("crae", "artery"), "crve": ("crve", "vein"),
    "dr-grade": ("dr-grade", "retinopathy"), "dr-referable": ("dr-referable", "retinopathy"),
    "dme-risk": ("dme-risk", "oedema"), "dr-heatmap": ("dr-grade",),
}  # fmt: skip
_REST: Final = {"all": "vessels", "area": "by-area"}
_UNIT_SUFFIXES: Final = ("-um", "-px", "-mm2")

COMMON_UNITS: Final = (
    "µm", "μm", "um", "mm", "cm", "mm²", "mm2", "µm²", "cm²", "mm³", "mm3", "cm³", "mL", "ml", "px",
    "pixels", "pixel", "DD", "DD²", "/DD", "/DD²", "%", "percent", "°", "degrees", "rad", "Hz", "ms",
    "L", "litres", "dL", "nm", "cm2", "毫升", "升", "纳米", "厘米", "立方毫米", "立方厘米", "mg", "kg", "HU", "years", "months", "days", "mmHg", "micrometres", "micrometers", "microns",
    "millimetres", "millimeters", "disc diameters", "disc diameter", "disk diameters",
    "square pixels", "像素", "微米", "毫米", "平方毫米", "个视盘直径", "视盘直径", "倍视盘直径", "度",
    "岁", "年", "月", "天",
)  # fmt: skip
_SPELT: Final[Mapping[str, tuple[str, ...]]] = {
    "{DD}": ("DD", "disc diameters", "disc diameter", "disk diameters", "disk diameter",
             "optic disc diameters", "个视盘直径", "视盘直径", "倍视盘直径"),
    "{DD2}": ("DD²", "DD2", "square disc diameters", "平方视盘直径"),
    "[pix_i]": ("px", "pixels", "pixel", "像素"), "[pix_i]2": ("px²", "square pixels", "像素²"),
    "um": ("µm", "μm", "um", "micrometres", "micrometers", "microns", "微米"),
    "mm": ("mm", "millimetres", "millimeters", "毫米"), "mm2": ("mm²", "mm2", "平方毫米"),
    "deg": ("°", "degrees", "degree", "度"), "%": ("%", "percent", "per cent"),
    "mL": ("mL", "ml", "cm³", "cm3", "millilitres", "毫升", "立方厘米"), "cm": ("cm", "厘米"),
    "L": ("L", "litres", "升"), "mm3": ("mm³", "mm3", "立方毫米"), "cm2": ("cm²", "cm2"),
    "rad": ("rad", "radians"), "a": ("years", "年", "岁"), "d": ("days", "天"),
}  # fmt: skip


@cache
def topics() -> "Phrases[str]":
    """Every phrase that a report of a photograph may use, and its tag."""
    return Phrases(
        (phrase, tag)
        for tag, both in _TOPICS.items()
        for words in both
        for phrase in words.split("|")
        if phrase
    )


@lru_cache(maxsize=8)
def named(facts: tuple[Fact, ...]) -> "Phrases[str]":
    """The names of the findings themselves, each standing for that finding."""
    units = {unit.casefold() for unit in COMMON_UNITS}
    return Phrases(
        (fact.name, f"fact:{fact.id}")
        for fact in facts
        if len(fact.name) > 3 and fact.name.casefold() not in units and not _usual(fact.name)
    )


def _usual(name: str) -> bool:
    """Whether a name is a phrase of reports, which has a tag of its own."""
    said = tokens(name)
    return any(f.first == 0 and f.last == len(said) for f in topics().find(said))


def concepts_in(said: list[Token]) -> list[Found[str]]:
    """What the vocabulary of findings knows in a sentence, as tags."""
    found = []
    for one in vocabulary().phrases.find(said):
        if isinstance(one.value, Shared):
            continue
        concept = one.value[0]
        found.append(Found(one.first, one.last, _CONCEPTS.get(concept, f"concept:{concept}")))
    return found


@lru_cache(maxsize=4096)
def tags_of(fact: Fact) -> frozenset[str]:
    """What a finding is about."""
    first, *rest = fact.id.split(".")
    for suffix in _UNIT_SUFFIXES:
        first = first.removesuffix(suffix)
    tags = {*_FIRST.get(first, (first,)), *(_REST.get(part, part) for part in rest)}
    tags.add(f"fact:{fact.id}")
    if "hard-exudates" in tags or "soft-exudates" in tags:
        tags.add("exudates")
    if tags & {*LESIONS}:
        tags.add("lesions")
    tags.update(one.value for one in concepts_in(tokens(fact.name)))
    if "no-scale" in fact.flags:
        tags.add("scale")
    return frozenset(tags)


COMPARED: Final = re.compile(
    r"\b(?P<times>(?:\w+ )?(?:twice|times|double|half) )?(?:(?P<more>more|as many)|(?P<less>fewer|less)) "
    r"(?P<one>[a-z -]{4,24}?) (?:than|as) (?P<other>[a-z -]{4,24})"
    r"|(?P<one_are>[a-z -]{4,24}?) (?:are|were) (?:(?P<more_are>more)|(?:fewer|less))(?: \w+)? "
    r"than (?P<other_are>[a-z -]{4,24})"
    r"|(?P<one_out>[a-z -]{4,24}?) (?P<more_out>outnumber(?:s|ed)?) (?P<other_out>[a-z -]{4,24})"
    r"|(?P<one_zh>[\u4e00-\u9fff]{2,8})(?:(?P<more_zh>多于|比)|(?P<less_zh>少于))(?P<other_zh>[\u4e00-\u9fff]{2,6})",
    re.IGNORECASE,
)
"""More of one thing than of another."""


def lesion_in(text: str) -> str:
    """The lesion that a few words name; empty where they name none."""
    return next((f.value for f in topics().find(tokens(text)) if f.value in LESIONS), "")


SPECIAL: Final = re.compile(
    r"flame|sub-?\s?retinal|pre-?\s?retinal|intra-?\s?retinal|hyaloid|vitreous|roth"
    r"|火焰|视网膜[下前内]|玻璃体",
    re.IGNORECASE,
)
"""Kinds of a lesion that no finding tells apart."""


def unit_after(text: str) -> str:
    """The unit that stands at the head of a text, as written; empty where there is none."""
    text = text.lstrip(" \u00a0\u202f")
    best = ""
    for unit in COMMON_UNITS:
        if len(unit) > len(best) and text[: len(unit)].casefold() == unit.casefold():
            after = text[len(unit) : len(unit) + 1]
            if not (unit[-1].isascii() and unit[-1].isalpha() and after.isalnum()):
                best = text[: len(unit)]
    return best


def same_unit(said: str, unit: str) -> bool:
    """Whether words after a number are a finding's unit; a pure number has none."""
    plain = said.casefold().replace("μ", "µ")
    if unit in ("1", ""):
        return not plain
    known = {*_SPELT.get(unit, ()), *(word for word in UNITS.get(unit, ()) if word), unit}
    return plain in {one.casefold().replace("μ", "µ") for one in known}


def is_known_unit(unit: str) -> bool:
    """Whether the words for a unit are known, so that another can be told from it."""
    return unit in UNITS or unit in _SPELT
