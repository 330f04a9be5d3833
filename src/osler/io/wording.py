"""What findings, measures, units and doubts are called for a reader, in English and Chinese."""

import re
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
    "new-microaneurysms": ("New microaneurysms", "新出现的微动脉瘤"),
    "new-haemorrhages": ("New haemorrhages", "新出现的出血"),
    "new-hard-exudates": ("New hard exudates", "新出现的硬性渗出"),
    "new-soft-exudates": ("New soft exudates", "新出现的软性渗出"),
    "gone-microaneurysms": ("Gone microaneurysms", "消失的微动脉瘤"),
    "gone-haemorrhages": ("Gone haemorrhages", "消失的出血"),
    "gone-hard-exudates": ("Gone hard exudates", "消失的硬性渗出"),
    "gone-soft-exudates": ("Gone soft exudates", "消失的软性渗出"),
    "registration": ("Registration", "配准"),
    "change.dr-grade": ("Change of the grade of retinopathy", "视网膜病变分级的变化"),
    "all": ("All vessels", "全部血管"),
    "ratio": ("Ratio", "比值"),
    "whole": ("whole photograph", "全图"),
    "knudtson": ("Knudtson", "Knudtson"),
    "hubbard": ("Hubbard", "Hubbard"),
    "vertical": ("vertical", "垂直"),
    "horizontal": ("horizontal", "水平"),
    "area": ("by area", "面积"),
    "new": ("New", "新出现"),
    "gone": ("Gone", "消失"),
    "stayed": ("In both", "两次均有"),
    "unsure": ("Unsure", "不确定"),
    "formation": ("New a year", "每年新出现"),
    "turnover": ("New and gone a year", "每年新出现与消失"),
    "change-of-area": ("Change of area", "面积变化"),
    "days": ("Days between", "相隔天数"),
    "dr-grade-steps": ("Steps of the grade", "分级变化级数"),
}

# First part of a measurement's id: (English, Chinese).
MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "tortuosity": ("Tortuosity", "迂曲度"),
    "tortuosity-tau2": ("Tortuosity τ2", "迂曲度 τ2"),
    "tortuosity-tau3": ("Tortuosity τ3", "迂曲度 τ3"),
    "tortuosity-tau4": ("Tortuosity τ4", "迂曲度 τ4"),
    "tortuosity-tau5": ("Tortuosity τ5", "迂曲度 τ5"),
    "tortuosity-tau6": ("Tortuosity τ6", "迂曲度 τ6"),
    "tortuosity-tau7": ("Tortuosity τ7", "迂曲度 τ7"),
    "tortuosity-density": ("Tortuosity density", "迂曲密度"),
    "median-diameter": ("Median diameter", "中位管径"),
    "diameter-std": ("Diameter variability", "管径标准差"),
    "diameter-cvme": ("Relative diameter variability", "管径相对变异"),
    "crae": ("Central retinal artery equivalent (CRAE)", "视网膜中央动脉当量 (CRAE)"),
    "crve": ("Central retinal vein equivalent (CRVE)", "视网膜中央静脉当量 (CRVE)"),
    "avr": ("Artery-to-vein ratio (AVR)", "动静脉比 (AVR)"),
    "fractal-dimension": ("Fractal dimension", "分形维数"),
    "information-dimension": ("Information dimension", "信息维数"),
    "correlation-dimension": ("Correlation dimension", "关联维数"),
    "density": ("Vessel density", "血管密度"),
    "temporal-angle": ("Main temporal angle", "颞侧主夹角"),
    "bifurcations": ("Bifurcations", "分叉数"),
    "cdr": ("Cup-to-disc ratio", "杯盘比"),
    "field-diameter": ("Diameter of the field of view", "视野直径"),
    "disc-diameter": ("Diameter of the optic disc", "视盘直径"),
    "disc-fovea-distance": ("Optic disc to fovea", "视盘至中心凹距离"),
    "lesion-count": ("Number", "数量"),
    "lesion-area": ("Area", "面积"),
    "lesion-fovea-distance": ("Distance to the fovea", "距中心凹距离"),
    "lesion-quadrants": ("Quadrants", "累及象限数"),
    "change": ("Change since the earlier photograph", "较之前照片的变化"),
}

# Flags as the steps write them: (English, Chinese).
FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "blur": ("blurred", "模糊"),
    "underexposed": ("too dark", "曝光不足"),
    "overexposed": ("too bright", "曝光过度"),
    "field": ("field of view cut off", "视野不全"),
    "coarse": ("too few pixels to be graded", "像素过少，故不予分级"),
    "grey": ("no colour, so it is not graded", "无彩色，故不予分级"),
    "colour-implausible": ("not the colours of a retina", "色彩不符合视网膜"),
    "pseudo-label": (
        "learnt from another program's output, not from experts: check by eye",
        "由其他程序的输出学习而得，并非专家标注：请目视核对",
    ),
    "disc-not-found": ("optic disc not found", "未找到视盘"),
    "cup-not-found": ("optic cup not found", "未找到视杯"),
    "fovea-not-found": ("fovea not found", "未找到中心凹"),
    "not-found": ("not found", "未找到"),
    "uncertain": ("uncertain", "不确定"),
    "not-fundus": ("not a fundus photograph", "非眼底照片"),
    "resolution": ("too few pixels", "像素过少"),
    "drafted": ("worded by a language engine", "由语言引擎措辞"),
    "draft-checked": ("every drafted sentence was checked", "撰写的句子均已核对"),
    "draft-failed-check": ("the draft failed its check", "撰写内容核对未通过"),
    "words-unread": ("holds words that were not checked", "含有未经核对的词"),
    "draft-missing": ("the language engine wrote nothing", "语言引擎未能撰写"),
    "no-circle": ("its border is no circle", "边界不呈圆形"),
    "fovea-implausible": (
        "lies where no fovea is expected: check by eye",
        "位置不合理：请目视核对",
    ),
    "laterality-conflict": (
        "the file states the other eye than the photograph seems to show",
        "文件所注眼别与照片所示不符",
    ),
    "earlier": ("in the earlier photograph", "见于较早的照片"),
    "two-readings": (
        "two readings of an unchanged eye differ too: check by eye",
        "同一只眼未变化时两次判读也会有差异：请目视核对",
    ),
    "within-uncertainty": (
        "both photographs leave one and the same grade open",
        "两次照片均不能排除同一分级",
    ),
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
    "{DD2}": ("DD²", "DD²"),
    "/{DD}": ("/DD", "/DD"),
    "/{DD2}": ("/DD²", "/DD²"),
    "rad": ("rad", "rad"),
    "mm2": ("mm²", "mm²"),
    "um2": ("µm²", "µm²"),
    "[pix_i]2": ("px²", "像素²"),
    "d": ("days", "天"),
    "/a": ("a year", "每年"),
}

# Whole numbers in these units are printed without places.
_COUNTED: Final = ("1", "[pix_i]", "[pix_i]2", "d")

# Why a measure has no value, as the steps say it, and the same in Chinese.
_REASONS: Final = tuple(
    (re.compile(english), chinese)
    for english, chinese in (
        (r"no optic disc was found", "未找到视盘"),
        (r"no optic cup was found inside the disc", "视盘内未找到视杯"),
        (r"no fovea was found", "未找到中心凹"),
        (r"no field of view was found", "未找到视野范围"),
        (r"the fovea lies outside the photograph", "中心凹在照片之外"),
        (r"no diameter could be measured", "无法测量管径"),
        (r"the image does not state its pixel spacing", "图像未注明像素间距"),
        (
            r"Hubbard's constants are in micrometres, and the image does not state its pixel "
            r"spacing",
            "Hubbard 公式以微米为单位，而图像未注明像素间距",
        ),
        (r"the image's pixels are not square", "像素不是正方形"),
        (r"the value for the veins is 0", "静脉的数值为 0"),
        (r"the region is empty", "区域为空"),
        (r"the mask is empty or too small for four box sizes", "掩膜为空或过小"),
        (r"fewer than three circles agree on a pair of arcades", "不足三个圆对血管弓的判断一致"),
        (r"there is no (vessel|artery|vein) mask", "没有血管掩膜"),
        (r"there are no [\w ]+", "未发现该病灶"),
        (r"there is no mask of [\w ]+", "未做该病灶的检测"),
        (r"only (\d+) vessel segments are long enough .*", r"仅有 \1 段血管足够长"),
        (
            r"too few \w+ cross zone B: (\d+) on the median circle .*",
            r"穿过 B 区的血管过少：中位圆上仅 \1 条",
        ),
        (r"zone (\w) is cut off by the edge of the photograph: .*", r"\1 区被照片边缘截去过多"),
        (
            r"disc and fovea are ([\d.]+) disc diameters apart, which is not plausible .*",
            r"视盘与中心凹相距 \1 个视盘直径，不合理",
        ),
        (r"a file does not state when it was taken", "文件未注明拍摄时间"),
        (r"there was none then", "当时没有"),
    )
)


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
    if isinstance(finding, Measurement) and known_language(language) != "en":
        measure, *where = finding.id.split(".")
        parts = (
            _said(NAMES, slug, language) or measure_name(slug, language=language, otherwise=slug)
            for slug in where
        )
        return " · ".join(
            (measure_name(measure, language=language, otherwise=finding.name), *parts)
        )
    return _said(NAMES, finding.id, language) or finding.name


def word(slug: str, *, language: str) -> str:
    """What the reader calls a structure, zone or method, such as ``"zone-b"``."""
    return _said(NAMES, slug, language) or plain(slug)


def measure_name(measure: str, *, language: str, otherwise: str = "") -> str:
    """What the reader calls a measure, by the first part of its id.

    The same measure in another unit (``"lesion-area-px"``) has the same name.
    """
    known = _said(MEASURES, measure, language)
    for unit in ("-um", "-px", "-mm2"):
        known = known or _said(MEASURES, measure.removesuffix(unit), language)
    return known or otherwise or plain(measure).capitalize()


def flag_words(flags: Sequence[str], *, language: str) -> list[str]:
    """Flags as words."""
    return [_said(FLAGS, flag, language) or plain(flag) for flag in flags]


def reason_words(reason: str, *, language: str) -> str:
    """Why a measure has no value; a reason that is not known stays in English."""
    if known_language(language) != "zh":
        return reason
    for english, chinese in _REASONS:
        if found := english.fullmatch(reason):
            return found.expand(chinese)
    return reason


def unit_words(unit: str, *, language: str) -> str:
    """A UCUM unit as printed; annotations in braces lose them."""
    said = _said(UNITS, unit, language)
    return unit.strip("{}[]") if said is None else said


def number(value: float, *, unit: str = "1") -> str:
    """A measured value with about three figures; whole numbers stay whole."""
    if float(value).is_integer() and abs(value) < 1e6 and unit in _COUNTED:
        return str(int(value))
    size = abs(value)
    fine = {"1": 0.1, "{DD}": 0.2}.get(unit, 1.0)
    places = 1 if size >= 100 or unit in ("deg", "[pix_i]", "um") else 2 if size >= fine else 3
    text = f"{value:.{places}f}"
    # so small a value would read as nothing
    return f"{value:.2g}" if float(text) == 0 and value != 0 else text


def quantity(measurement: Measurement, *, language: str) -> str:
    """A measurement's value with its unit, or an empty string where it has none."""
    if measurement.value is None:
        return ""
    unit = unit_words(measurement.unit, language=language)
    space = "" if unit in ("", "°") or unit.startswith("/") else "\u00a0"
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
