"""The impression: the rules that put the grade, and what speaks against it, into words.

[1] Porwal P et al. Indian Diabetic Retinopathy Image Dataset (IDRiD). Data 2018;3(3):25.
"""

from collections.abc import Iterator
from typing import Final

from osler.io.wording import chance, chance_of
from osler.record import Case, Label, Mask
from osler.retina.sentence import LESIONS, Sentence, measured_value, present, probability_words

_NEAREST_EXUDATE: Final = "lesion-fovea-distance.hard-exudates"

_GRADES_ZH: Final = {
    "0": "无糖尿病视网膜病变",
    "1": "轻度非增殖期",
    "2": "中度非增殖期",
    "3": "重度非增殖期",
    "4": "增殖期",
}
_OEDEMA_ZH: Final = {
    "0": "未见硬性渗出",
    "1": "硬性渗出距中心凹一个视盘直径以外",
    "2": "硬性渗出距中心凹一个视盘直径以内",
}


def grade(case: Case) -> Iterator[Sentence]:
    """The grade of retinopathy, and what cannot be excluded."""
    found = case.get("dr-grade", Label)
    if found is None:
        return
    p = chance_of(found, found.value)
    p_en, p_zh = (
        (f", probability {chance(p)}", f"，概率 {chance(p)}") if p is not None else ("", "")
    )
    words = f" ({found.meaning})" if found.meaning != found.value else ""
    words_zh = f"（{_GRADES_ZH[found.value]}）" if found.value in _GRADES_ZH else ""
    set_en, set_zh = _conformal(found, "grade")
    yield Sentence(
        "impression",
        f"Diabetic retinopathy grade {found.value}{words}{p_en}{set_en}.",
        f"糖尿病视网膜病变 {found.value} 级{words_zh}{p_zh}{set_zh}。",
        ("dr-grade", *present(case, "dr-heatmap")),
    )


def _conformal(grade: Label, noun: str) -> tuple[str, str]:
    if grade.coverage is None:
        return "", ""
    level = f"{round(100 * grade.coverage)}\u00a0%"
    kept = sorted(grade.prediction_set)
    if not kept:
        return (
            f"; no {noun} is typical enough to be kept at {level}: take it as unsure",
            f"；在 {level} 水平上没有足够典型的分级，请视为不确定",
        )
    if kept == [grade.value]:
        return f"; every other {noun} is excluded at {level}", f"；在 {level} 水平上可排除其他分级"
    numbers = [int(v) for v in kept if v.isdecimal()]
    if len(kept) > 2 and numbers == list(range(numbers[0], numbers[0] + len(kept))):
        en, zh = f"{kept[0]} to {kept[-1]}", f"{kept[0]} 至 {kept[-1]}"
    else:
        en = " and ".join(part for part in (", ".join(kept[:-1]), kept[-1]) if part)
        zh = "、".join(kept)
    plural = "s" if len(kept) > 1 else ""
    return (
        f"; {noun}{plural} {en} cannot be excluded at {level}",
        f"；在 {level} 水平上不能排除 {zh} 级",
    )


def referable(case: Case) -> Iterator[Sentence]:
    """Whether an ophthalmologist should see the eye."""
    label = case.get("dr-referable", Label)
    if label is None:
        return
    en, zh = probability_words(label, label.value)
    if label.value == "yes":
        said = f"Referable diabetic retinopathy{en}.", f"需转诊的糖尿病视网膜病变{zh}。"
    else:
        said = f"No referable diabetic retinopathy{en}.", f"无需转诊的糖尿病视网膜病变{zh}。"
    yield Sentence("impression", *said, ("dr-referable",))


def oedema(case: Case) -> Iterator[Sentence]:
    """The risk of macular oedema."""
    label = case.get("dme-risk", Label)
    if label is None:
        return
    p = chance_of(label, label.value)
    p_en, p_zh = (
        (f", probability {chance(p)}", f"，概率 {chance(p)}") if p is not None else ("", "")
    )
    words = f" ({label.meaning})" if label.meaning != label.value else ""
    set_en, set_zh = _conformal(label, "risk")
    words_zh = f"（{_OEDEMA_ZH[label.value]}）" if label.value in _OEDEMA_ZH else ""
    yield Sentence(
        "impression",
        f"Risk of macular oedema {label.value}{words}{p_en}{set_en}.",
        f"黄斑水肿风险 {label.value} 级{words_zh}{p_zh}{set_zh}。",
        ("dme-risk", *present(case, "hard-exudates", "fovea")),
    )


def disagreement(case: Case) -> Iterator[Sentence]:
    """Lesions were drawn that the grade, or the risk of oedema, leaves no room for."""
    grade = case.get("dr-grade", Label)
    lesions = [id for id, *_ in LESIONS if (m := case.get(id, Mask)) and m.mask.any()]
    if grade and grade.value == "0" and lesions:
        yield Sentence(
            "impression",
            "The grade and the lesions found do not agree: look at both.",
            "分级与所发现的病灶不一致：请对照查看。",
            ("dr-grade", *lesions),
        )
    risk, nearest = case.get("dme-risk", Label), measured_value(case, _NEAREST_EXUDATE)
    # risk 2 is defined by hard exudates within one disc diameter of the fovea [1]
    if risk and nearest and nearest.unit == "{DD}" and nearest.value is not None:
        near = nearest.value <= 1
        if near != (risk.value == "2"):
            yield Sentence(
                "impression",
                "The risk of macular oedema and the hard exudates do not agree: look at both.",
                "黄斑水肿风险与所发现的硬性渗出不一致：请对照查看。",
                ("dme-risk", nearest.id, *present(case, "hard-exudates", "fovea")),
            )
