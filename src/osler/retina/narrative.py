"""Findings in words: sentences by rule, in English and Chinese, each with its evidence.

No sentence says what no finding says: a step that did not run leaves nothing behind, and "none
were found" needs a finding that looked and found none. A number in a sentence is the number of a
finding that the sentence names as evidence.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from osler import __version__
from osler.errors import InputError
from osler.io.wording import (
    LANGUAGES,
    flag_words,
    known_language,
    quantity,
    reason_words,
)
from osler.record import Case, Image, Label, Mask, Measurement, Passage, Point, Source
from osler.retina import impression
from osler.retina.sentence import LESIONS, Sentence, measured_value, present, probability_words

NOT_FUNDUS: Final = "not a fundus photograph"
STATED: Final = "stated in the file"

# Below this probability the side is told as a guess.
_SURE_OF_SIDE: Final = 0.8


def narrate(case: Case, *, language: str = "en") -> list[Passage]:
    """Add the sentences that a case's findings allow, as ``statement-1``, ``statement-2``, ….

    Args:
        case: a case with findings; the passages are added to it.
        language: ``"en"`` or ``"zh"``, also with a region such as ``"zh-CN"``.

    Returns:
        The passages, in the order of reading: quality, findings, impression.

    Raises:
        InputError: there are no words in this language.
    """
    check_language(language)
    sentences = [s for rule in _rules_for(case) for s in rule(case)]
    return [
        case.add(
            Passage(
                id=f"statement-{number}",
                name="Statement",
                source=Source("algorithm", "osler.retina.narrative", __version__),
                item="photo" if "photo" in case.items else None,
                text=sentence.zh if known_language(language) == "zh" else sentence.en,
                language=known_language(language),
                section=sentence.section,
                evidence=sentence.evidence,
            )
        )
        for number, sentence in enumerate(sentences, 1)
    ]


def check_language(language: str) -> None:
    """Raise an ``InputError`` where there are no words in a language."""
    if known_language(language) != language.lower().partition("-")[0]:
        raise InputError(f"language '{language}' has no words; use {' or '.join(LANGUAGES)}")


Rule = Callable[[Case], Iterator[Sentence]]


def _rules_for(case: Case) -> Sequence[Rule]:
    photograph = case.get("photograph", Label)
    if photograph and photograph.value == NOT_FUNDUS:
        return (_not_a_fundus,)
    return (
        _quality,
        _side,
        _scale,
        _disc_and_cup,
        _vessels,
        _lesions_found,
        _lesions_absent,
        impression.grade,
        impression.referable,
        impression.oedema,
        impression.disagreement,
    )


def _not_a_fundus(case: Case) -> Iterator[Sentence]:
    label = case.get("photograph", Label)
    en, zh = probability_words(label, label.value) if label else ("", "")
    yield Sentence(
        "quality",
        f"This is not recognised as a fundus photograph{en}; nothing else was read from it.",
        f"该图像未被识别为眼底照片{zh}；未作进一步分析。",
        ("photograph",),
    )


def _quality(case: Case) -> Iterator[Sentence]:
    quality = case.get("quality", Label)
    if quality is None:
        return
    en, zh = (flag_words(quality.flags, language=language) for language in LANGUAGES)
    why_en, why_zh = (f": {', '.join(en)}", f"：{'、'.join(zh)}") if en else ("", "")
    if quality.value == "good":
        said = f"The photograph is of good quality{why_en}.", f"照片质量良好{why_zh}。"
    elif quality.value == "usable":
        said = (
            f"The photograph is usable but not good{why_en}.",
            f"照片质量尚可使用，但不理想{why_zh}。",
        )
    else:
        graded = "dr-grade" in case
        said = (
            f"The photograph is too poor to be judged{why_en}"
            + ("." if graded else "; no grade is given. Take it again if possible."),
            f"照片质量过差，无法判读{why_zh}" + ("。" if graded else "；不予分级。建议重新拍摄。"),
        )
    yield Sentence("quality", *said, ("quality",))


def _side(case: Case) -> Iterator[Sentence]:
    side = case.get("laterality", Label)
    if side is None or side.value not in ("R", "L"):
        return
    en, zh = ("right", "右") if side.value == "R" else ("left", "左")
    p_en, p_zh = probability_words(side, side.value)
    sure = side.probability is None or side.probability >= _SURE_OF_SIDE
    if "laterality-conflict" in side.flags:
        other_en, other_zh = ("left", "左") if side.value == "R" else ("right", "右")
        said = (
            f"The file states the {en} eye, but the photograph looks like a {other_en} eye.",
            f"文件注明为{zh}眼，但照片看起来是{other_zh}眼。",
        )
    elif side.source.name == STATED:
        said = f"It is the {en} eye, as the file states.", f"文件注明为{zh}眼。"
    elif sure and "uncertain" not in side.flags:
        said = f"It shows the {en} eye{p_en}.", f"{zh}眼{p_zh}。"
    else:
        said = (
            f"It is uncertain which eye this is; it may be the {en}{p_en}.",
            f"眼别不确定，可能为{zh}眼{p_zh}。",
        )
    yield Sentence("quality", *said, ("laterality",))


def _scale(case: Case) -> Iterator[Sentence]:
    """Says why lengths are no micrometres, where there are lengths."""
    photo = case.items.get("photo")
    if not isinstance(photo, Image) or photo.spacing is not None:
        return
    lengths = [m for m in case.of(Measurement) if m.value is not None]
    in_disc = [m.id for m in lengths if m.unit.startswith("{DD}")]
    in_pixels = [m.id for m in lengths if m.unit.startswith("[pix_i]")]
    units_en = [u for u, ids in (("disc diameters", in_disc), ("pixels", in_pixels)) if ids]
    units_zh = [u for u, ids in (("视盘直径（DD）", in_disc), ("像素", in_pixels)) if ids]
    if units_en:
        yield Sentence(
            "quality",
            f"The file states no scale, so lengths are in {' and '.join(units_en)}.",
            f"文件未注明比例尺，因此长度以{'和'.join(units_zh)}表示。",
            ("photo", *in_disc[:1], *in_pixels[:1]),
        )


def _disc_and_cup(case: Case) -> Iterator[Sentence]:
    disc, between = case.get("disc", Mask), case.get("disc-fovea-distance", Measurement)
    if disc and not disc.mask.any():
        yield Sentence("findings", "The optic disc was not found.", "未找到视盘。", ("disc",))
    if "fovea" not in case and between and between.reason == "no fovea was found":
        yield Sentence("findings", "The fovea was not found.", "未找到黄斑中心凹。", (between.id,))
    if (fovea := case.get("fovea", Point)) and "fovea-implausible" in fovea.flags:
        yield Sentence(
            "findings",
            "The fovea was found where none is expected: check it by eye.",
            "所找到的中心凹位置不合理：请目视核对。",
            ("fovea",),
        )
    ratio, cup = case.get("cdr.vertical", Measurement), case.get("cup", Mask)
    if ratio is None:
        return
    learnt = bool(cup and "pseudo-label" in cup.flags) or "pseudo-label" in ratio.flags
    doubt_en = "; the cup was learnt from another program's output: check it by eye"
    doubt_zh = "；视杯由其他程序的输出学习而得，请目视核对"
    yield _measured(
        case,
        ratio,
        "The vertical cup-to-disc ratio",
        "垂直杯盘比",
        also=("disc", "cup"),
        after=(doubt_en, doubt_zh) if learnt and ratio.value is not None else ("", ""),
    )


def _vessels(case: Case) -> Iterator[Sentence]:
    ratio = case.get("avr.knudtson", Measurement)
    if ratio:
        yield _measured(
            case,
            ratio,
            "The artery-to-vein ratio (Knudtson)",
            "动静脉比 (Knudtson)",
            also=("artery", "vein", "zone-b"),
        )
    pair = [case.get(f"tortuosity.{kind}", Measurement) for kind in ("artery", "vein")]
    artery, vein = pair
    if artery and vein and artery.value is not None and vein.value is not None:
        yield Sentence(
            "findings",
            f"Tortuosity is {_spoken(artery, 'en')} in arteries, {_spoken(vein, 'en')} in veins.",
            f"迂曲度：动脉 {_spoken(artery, 'zh')}，静脉 {_spoken(vein, 'zh')}。",
            (artery.id, vein.id, *present(case, "artery", "vein")),
        )
    fractal = case.get("fractal-dimension.all", Measurement)
    if fractal and fractal.value is not None:
        yield _measured(
            case,
            fractal,
            "The fractal dimension of the vessels",
            "血管分形维数",
            also=("vessels",),
        )


def _lesions_found(case: Case) -> Iterator[Sentence]:
    for id, one, several, chinese in LESIONS:
        lesion = case.get(id, Mask)
        if lesion is None or not lesion.mask.any():
            continue
        count = measured_value(case, f"lesion-count.{id}")
        ids = [id]
        if count:
            ids.append(count.id)
            said = _spoken(count, "en")
            en = f"{said} {one} was found" if said == "1" else f"{said} {several} were found"
            zh = f"发现{chinese} {_spoken(count, 'zh')} 处"
        else:
            en, zh = f"{several.capitalize()} were found", f"发现{chinese}"
        if quadrants := measured_value(case, f"lesion-quadrants.{id}"):
            ids.append(quadrants.id)
            said = _spoken(quadrants, "en")
            en += f", in {said} quadrant" + ("" if said == "1" else "s")
            zh += f"，累及 {said} 个象限"
        if nearest := measured_value(case, f"lesion-fovea-distance.{id}"):
            ids.append(nearest.id)
            if nearest.value == 0:
                en, zh = f"{en}; they reach the fovea", f"{zh}；累及中心凹"
            else:
                verb = "it lies" if count and _spoken(count, "en") == "1" else "the nearest lies"
                en += f"; {verb} {_spoken(nearest, 'en')} from the fovea"
                zh += f"；最近处距中心凹 {_spoken(nearest, 'zh')}"
        doubts = [flag_words(lesion.flags, language=language) for language in LANGUAGES]
        if lesion.flags:
            en, zh = f"{en} ({', '.join(doubts[0])})", f"{zh}（{'、'.join(doubts[1])}）"
        yield Sentence("findings", f"{en}.", f"{zh}。", tuple(ids))


def _lesions_absent(case: Case) -> Iterator[Sentence]:
    absent = [
        row for row in LESIONS if (lesion := case.get(row[0], Mask)) and not lesion.mask.any()
    ]
    if absent:
        names = [several for _, _, several, _ in absent]
        listed = " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
        yield Sentence(
            "findings",
            f"No {listed} were found.",
            f"未发现{'、'.join(chinese for *_, chinese in absent)}。",
            tuple(id for id, *_ in absent),
        )


def _measured(
    case: Case,
    measurement: Measurement,
    name: str,
    name_zh: str,
    *,
    also: tuple[str, ...] = (),
    after: tuple[str, str] = ("", ""),
) -> Sentence:
    evidence = (measurement.id, *present(case, *also))
    if measurement.value is None:
        return Sentence(
            "findings",
            f"{name} was not computed: {measurement.reason}.",
            f"{name_zh}未计算：{reason_words(measurement.reason, language='zh')}。",
            evidence,
        )
    en, zh = (flag_words(measurement.flags, language=language) for language in LANGUAGES)
    # a doubt that `after` tells at length is not told twice
    if after[0]:
        en, zh = [], []
    doubt_en, doubt_zh = (f" ({', '.join(en)})", f"（{'、'.join(zh)}）") if en else ("", "")
    return Sentence(
        "findings",
        f"{name} is {_spoken(measurement, 'en')}{doubt_en}{after[0]}.",
        f"{name_zh}为 {_spoken(measurement, 'zh')}{doubt_zh}{after[1]}。",
        evidence,
    )


def _spoken(measurement: Measurement, language: str) -> str:
    said = quantity(measurement, language=language)
    if not said.endswith("DD"):
        return said
    return said.removesuffix("DD") + ("disc diameters" if language == "en" else "个视盘直径")
