"""What findings, measures, units and doubts are called for a reader, in English and Chinese."""

from collections.abc import Mapping, Sequence
from typing import Final

from osler.record import Finding, Label, Measurement

LANGUAGES: Final = ("en", "zh")

# Finding id, structure or region: (English, Chinese).
NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "field": ("Field of view", "视野范围"),
    "photograph": ("Kind of image", "图像类型"),
    "quality": ("Image quality", "图像质量"),
    "disc": ("Optic disc", "视盘"),
    "cup": ("Optic cup", "视杯"),
    "fovea": ("Fovea", "黄斑中心凹"),
    "laterality": ("Eye", "眼别"),
    "vessels": ("All vessels", "全部血管"),
    "artery": ("Arteries", "动脉"),
    "vein": ("Veins", "静脉"),
    "zone-b": ("Zone B", "B 区"),
    "zone-c": ("Zone C", "C 区"),
    "microaneurysms": ("Microaneurysms", "微动脉瘤"),
    "haemorrhages": ("Haemorrhages", "出血"),
    "hard-exudates": ("Hard exudates", "硬性渗出"),
    "soft-exudates": ("Soft exudates", "软性渗出"),
    "dr-grade": ("Diabetic retinopathy grade", "糖尿病视网膜病变分级"),
    "dr-referable": ("Referable diabetic retinopathy", "需转诊的糖尿病视网膜病变"),
    "dme-risk": ("Risk of macular oedema", "黄斑水肿风险"),
    "dr-heatmap": ("Where the grade comes from", "分级依据热图"),
    "all": ("All vessels", "全部血管"),
    "ratio": ("Ratio", "比值"),
    "whole": ("whole photograph", "全图"),
    "knudtson": ("Knudtson", "Knudtson"),
    "hubbard": ("Hubbard", "Hubbard"),
    "vertical": ("vertical", "垂直"),
    "horizontal": ("horizontal", "水平"),
    "area": ("by area", "面积"),
}

# First part of a measurement's id: (English, Chinese).
MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "tortuosity": ("Tortuosity", "迂曲度"),
    "tortuosity-ratio": ("Tortuosity", "迂曲度"),
    "median-diameter": ("Median diameter", "中位管径"),
    "diameter-sd": ("Standard deviation of diameter", "管径标准差"),
    "diameter-std": ("Standard deviation of diameter", "管径标准差"),
    "diameter-variability": ("Variability of diameter", "管径变异"),
    "crae": ("Central retinal artery equivalent (CRAE)", "视网膜中央动脉当量 (CRAE)"),
    "crve": ("Central retinal vein equivalent (CRVE)", "视网膜中央静脉当量 (CRVE)"),
    "avr": ("Artery-to-vein ratio (AVR)", "动静脉比 (AVR)"),
    "fractal-dimension": ("Fractal dimension", "分形维数"),
    "density": ("Vessel density", "血管密度"),
    "temporal-angle": ("Main temporal angle", "颞侧主夹角"),
    "bifurcations": ("Bifurcations", "分叉数"),
    "cdr": ("Cup-to-disc ratio", "杯盘比"),
    "lesion-count": ("Number", "数量"),
    "lesion-area": ("Area", "面积"),
    "lesion-fovea-distance": ("Distance to the fovea", "距中心凹距离"),
    "lesion-quadrants": ("Quadrants", "累及象限数"),
}

# Flags as the steps write them: (English, Chinese).
FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "blur": ("blurred", "模糊"),
    "underexposed": ("too dark", "曝光不足"),
    "overexposed": ("too bright", "曝光过度"),
    "field": ("field of view cut off", "视野不全"),
    "pseudo-label": (
        "learnt from another program's output, not from experts: check by eye",
        "由其他程序的输出学习而得,并非专家标注:请目视核对",
    ),
    "disc-not-found": ("optic disc not found", "未找到视盘"),
    "cup-not-found": ("optic cup not found", "未找到视杯"),
    "fovea-not-found": ("fovea not found", "未找到中心凹"),
    "not-found": ("not found", "未找到"),
    "uncertain": ("uncertain", "不确定"),
}

# UCUM: (English, Chinese) as printed after a number.
UNITS: Final[Mapping[str, tuple[str, str]]] = {
    "1": ("", ""),
    "": ("", ""),
    "[pix_i]": ("px", "像素"),
    "{DD}": ("DD", "DD"),
    "um": ("µm", "µm"),
    "mm": ("mm", "mm"),
    "deg": ("°", "°"),
    "%": ("%", "%"),
    "{DD}2": ("DD²", "DD²"),
    "mm2": ("mm²", "mm²"),
    "um2": ("µm²", "µm²"),
    "[pix_i]2": ("px²", "像素²"),
}


def known_language(tag: str) -> str:
    """The nearest language that words exist for: ``"zh"`` for ``"zh-CN"``, else ``"en"``."""
    primary = tag.lower().partition("-")[0]
    return primary if primary in LANGUAGES else "en"


def _said(table: Mapping[str, tuple[str, str]], key: str, language: str) -> str | None:
    pair = table.get(key)
    return None if pair is None else pair[LANGUAGES.index(known_language(language))]


def plain(slug: str) -> str:
    """A slug as words: ``"few-segments"`` becomes ``"few segments"``."""
    return slug.replace("-", " ").replace("_", " ")


def name_of(finding: Finding, *, language: str) -> str:
    """What the reader calls a finding."""
    return _said(NAMES, finding.id, language) or finding.name


def word(slug: str, *, language: str) -> str:
    """What the reader calls a structure, zone or method, such as ``"zone-b"``."""
    return _said(NAMES, slug, language) or plain(slug)


def measure_name(measure: str, *, language: str, otherwise: str = "") -> str:
    """What the reader calls a measure, by the first part of its id."""
    fallback = otherwise or plain(measure).capitalize()
    return _said(MEASURES, measure, language) or fallback


def flag_words(flags: Sequence[str], *, language: str) -> list[str]:
    """Flags as words."""
    return [_said(FLAGS, flag, language) or plain(flag) for flag in flags]


def unit_words(unit: str, *, language: str) -> str:
    """A UCUM unit as printed; annotations in braces lose them."""
    said = _said(UNITS, unit, language)
    return unit.strip("{}[]") if said is None else said


def number(value: float, *, unit: str = "1") -> str:
    """A measured value with a sensible number of places: whole numbers stay whole."""
    if float(value).is_integer() and abs(value) < 1e6 and (unit == "1" or value == 0):
        return str(int(value))
    size = abs(value)
    places = 1 if size >= 100 else 2 if size >= (0.1 if unit == "1" else 1) else 3
    if unit in ("deg", "[pix_i]", "um"):
        places = 1 if size >= 1 else 2
    text = f"{value:.{places}f}"
    # so small a value would read as nothing
    return f"{value:.2g}" if float(text) == 0 and value != 0 else text


def quantity(measurement: Measurement, *, language: str) -> str:
    """A measurement's value with its unit, or an empty string where it has none."""
    if measurement.value is None:
        return ""
    unit = unit_words(measurement.unit, language=language)
    space = "" if unit in ("", "°") else "\u00a0"
    return f"{number(measurement.value, unit=measurement.unit)}{space}{unit}"


def chance(probability: float) -> str:
    """A probability to two places; what rounds to certainty is printed as a bound."""
    if probability > 0.99:
        return "> 0.99"
    return "< 0.01" if probability < 0.01 else f"{probability:.2f}"


def chance_of(label: Label, value: str) -> float | None:
    """The calibrated probability of one value of a label, where it is known."""
    if value in label.probabilities:
        return float(label.probabilities[value])
    return label.probability if value == label.value else None
