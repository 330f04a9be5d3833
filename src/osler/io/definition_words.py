"""What defines a measure, and what is noted of it, in the reader's language.

Findings carry both in English, the sources' names too; here they are found by their English words.
A definition that is not known stays in English.
"""

import re
from collections.abc import Mapping
from typing import Final

from osler.io.wording import known_language

# A definition's formula as a finding says it, before its sources, and the same in Chinese.
_FORMULAS: Final[Mapping[str, str]] = {
    "least-squares circle through the border of the lit part (Kasa 1976)": (
        "照亮部分边界的最小二乘拟合圆（Kasa 1976）"
    ),
    "diameter of the circle with the disc's area: the ruler": "与视盘等面积之圆的直径：作为标尺",
    "distance from the disc's centre to the fovea": "视盘中心到黄斑中心凹的距离",
    "extent of the cup over extent of the disc along image columns (vertical) or rows "
    "(horizontal), or ratio of areas; the cup is counted inside the disc only": (
        "视杯与视盘沿图像列（垂直）或行（水平）方向的长度之比，或面积之比；视杯只计视盘之内的部分"
    ),
    "median over segments, cut at branchings, of arc length / chord length - 1 (tau1, distance "
    "factor)": "在分叉处切断的各血管段“弧长/弦长 − 1”的中位数（τ1，距离因子）",
    "tortuosity of arteries / of veins": "动脉迂曲度 / 静脉迂曲度",
    "median diameter of arteries / of veins": "动脉中位管径 / 静脉中位管径",
    "density of arteries / of veins": "动脉密度 / 静脉密度",
    "median over segments of (n-1)/n * 1/L * sum(L_i/X_i - 1) over its n turns of one sign": (
        "各血管段按曲率符号分为 n 个弯，(n−1)/n · 1/L · Σ(L_i/X_i − 1)，取各段的中位数"
    ),
    "median over segments of the median diameter": "各血管段中位管径的中位数",
    "standard deviation of all point diameters": "所有测点管径的标准差",
    "mean |diameter - median| / median over all point diameters (CVMe)": (
        "所有测点的 |管径 − 中位数| 的均值 / 中位数（CVMe）"
    ),
    "six widest arteries in zone B, widest with narrowest: 0.88 sqrt(a^2 + b^2); median over "
    "11 circles": (
        "B 区内最宽的六条动脉，最宽与最窄配对：0.88 sqrt(a^2 + b^2)；取 11 个圆的中位数"
    ),
    "six widest veins in zone B, widest with narrowest: 0.95 sqrt(a^2 + b^2); median over "
    "11 circles": (
        "B 区内最宽的六条静脉，最宽与最窄配对：0.95 sqrt(a^2 + b^2)；取 11 个圆的中位数"
    ),
    "as crae.knudtson, in micrometres": "同 CRAE（Knudtson），以微米计",
    "as crve.knudtson, in micrometres": "同 CRVE（Knudtson），以微米计",
    "six widest arteries in zone B, widest with narrowest: "
    "sqrt(0.87 a^2 + 1.01 b^2 - 0.22 a b - 10.76), a < b; median over 11 circles": (
        "B 区内最宽的六条动脉，最宽与最窄配对："
        "sqrt(0.87 a^2 + 1.01 b^2 − 0.22 a b − 10.76)，a < b；取 11 个圆的中位数"
    ),
    "six widest veins in zone B, widest with narrowest: "
    "sqrt(0.72 a^2 + 0.91 b^2 + 450.05), a < b; median over 11 circles": (
        "B 区内最宽的六条静脉，最宽与最窄配对："
        "sqrt(0.72 a^2 + 0.91 b^2 + 450.05)，a < b；取 11 个圆的中位数"
    ),
    "CRAE / CRVE of the same formulas": "同一公式的 CRAE / CRVE",
    "vessel pixels / pixels of the field of view (in the zone)": "血管像素数 / 视野（区内）像素数",
    "angle at the disc between the widest vessels above and below the disc-fovea axis, 75 deg "
    "at least, on 6 circles at 0.45 to 0.55 of the disc-fovea distance; mean of those that "
    "agree within 15 deg": (
        "视盘处，视盘—中心凹轴上、下最宽血管之间的夹角，至少 75°，取距视盘 0.45 至 0.55 "
        "倍视盘—中心凹距离的 6 个圆；相差不超过 15° 者的均值"
    ),
    "nodes where three or more segments of one vessel type meet, those nearer than the vessel "
    "is wide merged; all = arteries + veins": (
        "同类血管三段或以上相会的节点，间距小于管径者合并；全部血管 = 动脉 + 静脉"
    ),
    "box-counting dimension D0 of the mask, boxes of 2, 4, 8 ... pixels up to a quarter of "
    "its extent; depends on the pixel size": (
        "掩膜的计盒维数 D0，盒边长 2、4、8……像素，至掩膜范围的四分之一；与像素大小有关"
    ),
    "D1 of the centrelines, boxes as for the fractal dimension": (
        "血管中心线的 D1，盒的大小同分形维数"
    ),
    "D2 of the centrelines, boxes as for the fractal dimension": (
        "血管中心线的 D2，盒的大小同分形维数"
    ),
    "connected pieces (8 neighbours) of the mask": "掩膜的连通区（8 邻域）数",
    "area of the mask in squared disc diameters": "掩膜面积，以视盘直径的平方计",
    "pixels of the mask": "掩膜的像素数",
    "area of the mask": "掩膜面积",
    "from the fovea to the nearest pixel of the mask": "中心凹到掩膜最近像素的距离",
    "quadrants round the disc, parted along and across the disc-fovea axis, that hold the "
    "centre of a lesion": "以视盘为中心、沿视盘—中心凹轴及其垂线划分的象限中，含有病灶中心者的数目",
    "the later grade less the earlier": "较晚的分级减去较早的分级",
    "area now over the area then, less 1": "现在的面积 / 当时的面积 − 1",
    "of those counted in the common field, divided by the years between (Nunes 2009)": (
        "共同视野内所计之数，除以相隔的年数（Nunes 2009）"
    ),
}

_PATTERNS: Final = tuple(
    (re.compile(english), chinese)
    for english, chinese in (
        (
            r"median over segments of integral of (\S+) ds( / [LX])?; curvature k at a scale of "
            r"0\.03 disc diameters, arc length L, chord X",
            r"各血管段 ∫ \1 ds\2 的中位数；曲率 k 的尺度为 0.03 个视盘直径，L 为弧长，X 为弦长",
        ),
        (r"now less then \((\S+)\)", r"现在的数值减去当时的数值（\1）"),
        (
            r"no earlier one within (\S+) pixels, nor seen faintly",
            r"\1 像素内先前没有，也未隐约可见",
        ),
        (r"no later one within (\S+) pixels, nor seen faintly", r"\1 像素内后来没有，也未隐约可见"),
        (r"an earlier one within (\S+) pixels", r"\1 像素内先前已有"),
        (
            r"in one photograph, and with a probability of (\S+) or more in the other",
            r"见于一张照片，在另一张中的概率不低于 \1",
        ),
    )
)

_QUADRANTS: Final[Mapping[str, str]] = {
    "superior-temporal": "颞上",
    "inferior-temporal": "颞下",
    "superior-nasal": "鼻上",
    "inferior-nasal": "鼻下",
}


def definition_words(method: str, *, language: str) -> str:
    """How a measure is defined; the sources that follow it keep their names.

    Args:
        method: as a finding says it, such as ``"area of the mask [1] Source"``.
        language: BCP 47 tag.
    """
    if known_language(language) != "zh":
        return method
    formula, bracket, sources = method.partition(" [")
    return f"{_formula(formula)}{bracket}{sources}"


def _formula(english: str) -> str:
    for pattern, chinese in _PATTERNS:
        if found := pattern.fullmatch(english):
            return found.expand(chinese)
    return _FORMULAS.get(english, english)


def note_words(note: str, *, language: str) -> str:
    """What is noted of a measure: the quadrants that it counts."""
    if known_language(language) != "zh":
        return note
    if re.fullmatch(r"none of the \d+ quadrants", note):
        return "各象限均无"
    parts = note.split(", ")
    known = [_QUADRANTS[part] for part in parts if part in _QUADRANTS]
    return "、".join(known) if len(known) == len(parts) else note
