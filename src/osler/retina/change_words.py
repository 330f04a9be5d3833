"""What changed since the earlier photograph, in sentences."""

from collections.abc import Iterator
from typing import Final

from osler.io.wording import quantity
from osler.record import Case, Label, Measurement
from osler.retina.sentence import LESIONS, Sentence, measured_value, present

_GRADE: Final = {
    "same": ("is the same as before", "与之前相同"),
    "worse": ("is worse than before", "较之前加重"),
    "better": ("is better than before", "较之前减轻"),
}


def told(case: Case) -> Iterator[Sentence]:
    """The sentences that the findings of a comparison allow."""
    yield _between(case)
    yield from _grade(case)
    for kind, _, several, chinese in LESIONS:
        yield from _lesions(case, kind, several, chinese)


def _between(case: Case) -> Sentence:
    days = measured_value(case, "change.days")
    if days is None or days.value is None:
        en, zh = "at a time that the files do not state", "（文件未注明日期）"
        evidence = ("registration", "change.days")
        return Sentence(
            "history",
            f"It is compared with a photograph of the same eye taken earlier, {en}.",
            f"与同一眼较早的照片比较{zh}。",
            evidence,
        )
    count = f"{days.value:.0f}"
    return Sentence(
        "history",
        f"It is compared with a photograph of the same eye taken {count} "
        f"day{'' if count == '1' else 's'} earlier.",
        f"与同一眼 {count} 天前的照片比较。",
        ("registration", "change.days"),
    )


def _grade(case: Case) -> Iterator[Sentence]:
    change = case.get("change.dr-grade", Label)
    steps = measured_value(case, "change.dr-grade-steps")
    grade = case.get("dr-grade", Label)
    if change is None or steps is None or steps.value is None or grade is None:
        return
    en, zh = _GRADE[change.value]
    then = int(grade.value) - int(steps.value)
    doubt_en, doubt_zh = "", ""
    if "within-uncertainty" in change.flags:
        doubt_en = "; both leave one and the same grade open, so this may be no change"
        doubt_zh = "；两次照片均不能排除同一分级，可能并无变化"
    yield Sentence(
        "history",
        f"The grade of retinopathy {en} (grade {then} then, {grade.value} now){doubt_en}.",
        f"视网膜病变分级{zh}（之前 {then} 级，现在 {grade.value} 级）{doubt_zh}。",
        (change.id, steps.id, grade.id),
    )


def _lesions(case: Case, kind: str, several: str, chinese: str) -> Iterator[Sentence]:
    counts = [measured_value(case, f"change.{what}.{kind}") for what in ("new", "gone", "stayed")]
    unsure = measured_value(case, f"change.unsure.{kind}")
    if any(one is None for one in (*counts, unsure)):
        return
    new, gone, stayed, doubt = (_count(one) for one in (*counts, unsure))
    if new == gone == stayed == doubt == "0":
        return
    ids = tuple(f"change.{what}.{kind}" for what in ("new", "gone", "stayed", "unsure"))
    ids += present(case, f"new-{kind}", f"gone-{kind}")
    en = f"{several.capitalize()}: {new} new, {gone} gone, {stayed} in both photographs"
    zh = f"{chinese}：新出现 {new} 处，消失 {gone} 处，两次均有 {stayed} 处"
    if doubt != "0":
        en, zh = f"{en}, {doubt} not certain", f"{zh}，不确定 {doubt} 处"
    if rate := measured_value(case, f"change.formation.{kind}"):
        en, zh = f"{en}; {_count(rate)} new a year", f"{zh}；每年新出现 {_count(rate)} 处"
        ids += (rate.id,)
    if new != "0" or gone != "0":
        en = f"{en}. Two readings of an unchanged eye differ too, so look at them"
        zh = f"{zh}。未变化的眼两次判读也会有差异，请目视核对"
    yield Sentence("history", f"{en}.", f"{zh}。", ids)


def _count(measurement: Measurement | None) -> str:
    assert measurement is not None
    if measurement.unit == "1":
        return quantity(measurement, language="en")
    return f"{measurement.value:.1f}"
