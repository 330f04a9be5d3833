# ruff: noqa: E501, PLW2901 - tables of words
"""How well the checker of reports finds what is wrong in a sentence, and how often it errs.

Photographs are read, their rule-based sentences are spoilt in one known way each, and the checker
says which of them stand. Untouched sentences and paraphrases of them are to stand; every other is
to fall. A spoilt sentence counts as found where it does not stand, for whatever reason.

    python benchmarks/report_checking.py --read 24     the photographs, once
    python benchmarks/report_checking.py               the figures, as JSON and as a table
    python benchmarks/report_checking.py --sentences   those of reports/sentences.csv, written by
                                                       hand about three of the examples
"""

import argparse
import json
import os
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from osler.language.checking import check, check_sentence
from osler.language.facts import Fact

HERE = Path(__file__).parent
DATA = Path(os.environ.get("OSLER_DATA", HERE.parent / "shared" / "data"))
CASES = Path(os.environ.get("OSLER_CASES", "runs/report-cases.json"))
RESULT = HERE / "report_checking.json"
_ABOUT = dict.fromkeys("123", "idrid-lesions-22.jpg") | {
    "4": "idrid-141.jpg", "5": "hrf-02-diabetic.jpg"
}  # fmt: skip
LESIONS = {
    "microaneurysms": ("microaneurysms", "微动脉瘤"),
    "haemorrhages": ("haemorrhages", "出血"),
    "hard-exudates": ("hard exudates", "硬性渗出"),
    "soft-exudates": ("soft exudates", "软性渗出"),
}
INVENTED = {
    "en": ("Neovascularisation of the disc is present.", "There is a branch retinal vein occlusion.",
           "Multiple drusen are seen at the macula.", "An epiretinal membrane is noted.",
           "The optic disc is swollen.", "Laser photocoagulation is recommended."),
    "zh": ("可见视盘新生血管。", "可见视网膜分支静脉阻塞。", "黄斑区可见多发玻璃膜疣。",
           "可见黄斑前膜。", "视盘水肿。", "建议行激光光凝治疗。"),
}  # fmt: skip


def read(count: int) -> None:
    """Read examples and photographs of IDRiD's test part, and keep facts and sentences."""
    import csv

    import osler
    from osler.language.facts import facts
    from osler.record import Passage
    from osler.retina.narrative import narrate

    rows = list(csv.DictReader((DATA / "idrid-grading" / "labels.csv").open()))
    test = [row for row in rows if row.get("split", "test") == "test"]
    random.Random(1).shuffle(test)
    paths = sorted((HERE.parent / "examples").glob("*.jpg"))
    named = [next(iter(v for v in row.values() if v.endswith(".jpg")), "") for row in test]
    paths += [DATA / "idrid-grading" / "images" / Path(n).name for n in named[:count]]
    kept = json.loads(CASES.read_text()) if CASES.exists() else []
    done = {one["name"] for one in kept}
    for path in paths:
        if path.name in done:
            continue
        case = osler.read(path)
        out = {"name": path.name, "example": path.parent.name == "examples", "said": {}}
        out["facts"] = [asdict(f) for f in facts(case)]
        for language in ("en", "zh"):
            for one in list(case.of(Passage)):
                del case.findings[one.id]
            out["said"][language] = [
                (p.text, list(p.evidence)) for p in narrate(case, language=language)
            ]
        kept.append(out)
        CASES.parent.mkdir(parents=True, exist_ok=True)
        CASES.write_text(json.dumps(kept, ensure_ascii=False))
        print(path.name, len(kept), flush=True)


def facts_of(case: dict) -> list[Fact]:
    """The facts as they were."""
    out = []
    for row in case["facts"]:
        row = {**row, "flags": tuple(row["flags"]), "possible": tuple(row["possible"])}
        out.append(Fact(**{**row, "choices": tuple(map(tuple, row["choices"]))}))
    return out


def spoilt(
    text: str, cites: list[str], facts: list[Fact], language: str, rng: random.Random
) -> Iterator[tuple[str, str, list[str]]]:
    """Kind, words and citations of each way to spoil a sentence that it allows."""
    by_id = {f.id: f for f in facts}
    # a number of a measure, a count or a probability
    numbers = [
        m for m in re.finditer(r"(?<![\w.])\d+(?:\.\d+)?(?![\w]|\s?%| 级|级)", text)
        if not re.search(r"grades?\s*$|risks?\s*$|oedema\s*$|and\s*$|to\s*$|风险\s*$|病变\s*$|至\s*$|、\s*$",
                         text[: m.start()])
    ]  # fmt: skip
    if numbers:
        m = rng.choice(numbers)
        yield "number", _spliced(text, m, _other_number(m[0], rng)), cites
        m = rng.choice(numbers)
        yield "last digit", _spliced(text, m, _nearly(m[0])), cites
    if len(numbers) > 1:
        a, b = rng.sample(numbers, 2)
        if a[0] != b[0]:
            a, b = sorted((a, b), key=lambda m: m.start())
            swapped = text[: a.start()] + b[0] + text[a.end() : b.start()] + a[0] + text[b.end() :]
            yield "numbers swapped", swapped, cites
    for one, other in (("left", "right"), ("右", "左")):
        if re.search(rf"\b{one}\b|\b{other}\b" if one.isascii() else f"[{one}{other}]", text):
            yield "side", _exchanged(text, one, other), cites
            break
    if "dr-grade" in cites or "dme-risk" in cites:
        match = re.search(r"(?<=grade )\d|(?<=oedema )\d|(?<=病变 )\d|(?<=风险 )\d", text)
        if match:
            step = rng.choice([-1, 1]) if 0 < int(match[0]) < 4 else (1 if match[0] == "0" else -1)
            yield "grade", _spliced(text, match, str(int(match[0]) + step)), cites
        match = re.search(r"\bmild|moderate|severe|轻度|中度|重度", text)
        if match:
            words = ("mild", "moderate", "severe") if language == "en" else ("轻度", "中度", "重度")
            yield (
                "severity",
                _spliced(text, match, rng.choice([w for w in words if w != match[0]])),
                cites,
            )
    flipped = _flipped(text, language)
    if flipped != text:
        yield "negation", flipped, cites
    yield "invented", rng.choice(INVENTED[language]), cites
    pairs = ((" disc diameters", " mm"), (" px", " mm"), ("°", " rad"), ("\u00a0个视盘直径", " 毫米"),
             (" 个视盘直径", " 毫米"), ("\u00a0disc diameters", " mm"))  # fmt: skip
    for unit, other in pairs:
        if re.search(r"\d" + re.escape(unit), text):
            yield "unit", re.sub(r"(?<=\d)" + re.escape(unit), other, text), cites
            break
    others = [
        f.id for f in facts if f.id not in cites and f.kind in ("label", "measurement", "mask")
    ]
    yield "wrong citation", text, [rng.choice(others)]
    yield "unknown citation", text, ["finding-99"]
    yield "no citation", text, []
    for id, names in LESIONS.items():
        name = names[0 if language == "en" else 1]
        if id in by_id and name in text:
            other = rng.choice([o for o in LESIONS if o != id])
            other_name = LESIONS[other][0 if language == "en" else 1]
            if by_id[other].negated != by_id[id].negated or "lesion-count." + id in cites:
                yield "another lesion", text.replace(name, other_name), cites
            break


def _spliced(text: str, match: re.Match, new: str) -> str:
    return text[: match.start()] + new + text[match.end() :]


def _other_number(said: str, rng: random.Random) -> str:
    """Another number with as many places, at least a tenth and a step away."""
    places = len(said.partition(".")[2])
    value = float(said)
    while True:
        new = round(
            value * rng.choice([0.4, 0.6, 0.8, 1.25, 1.6, 2.0]) + (0 if value else 1), places
        )
        if f"{new:.{places}f}" != said:
            return f"{new:.{places}f}"
        value += 10.0**-places


def _nearly(said: str) -> str:
    places = len(said.partition(".")[2])
    return f"{float(said) + 10.0**-places:.{places}f}"


def _exchanged(text: str, one: str, other: str) -> str:
    return re.sub(f"{one}|{other}", lambda m: other if m[0] == one else one, text)


def _flipped(text: str, language: str) -> str:
    if language == "en":
        if text.startswith("No ") and "found" in text:
            return re.sub(r"^No (\w)", lambda m: m[1].upper(), text).replace(" or ", " and ")
        if re.match(r"\d+ [a-z ]*(?:aneurysm|haemorrhage|exudate)", text):
            name = re.match(r"\d+ ([a-z ]+?) (?:were|was)", text)
            return f"No {name[1]} were found." if name else text
        if text.startswith("Referable"):
            return "No referable" + text.removeprefix("Referable")
        return re.sub(r"^No referable", "Referable", text)
    if text.startswith("未发现"):
        return "发现" + text.removeprefix("未发现")
    if text.startswith("发现"):
        return "未" + re.split(r" \d|，|。", text)[0] + "。"
    if text.startswith("需转诊"):
        return "无" + text
    return re.sub(r"^无需转诊", "需转诊", text)


def paraphrases(facts: list[Fact], language: str) -> Iterator[tuple[str, list[str]]]:
    """The same in words that no rule writes."""
    by_id = {f.id: f for f in facts}
    en = language == "en"
    for id, names in LESIONS.items():
        mask, count = by_id.get(id), by_id.get(f"lesion-count.{id}")
        where, far = by_id.get(f"lesion-quadrants.{id}"), by_id.get(f"lesion-fovea-distance.{id}")
        name = names[0 if en else 1]
        if mask is None:
            continue
        if mask.negated:
            yield (f"There is no evidence of {name}." if en else f"未见{name}。"), [id]
            yield (f"{name.capitalize()} are absent." if en else f"眼底无{name}。"), [id]
        elif count is not None and count.value and where is not None and where.value:
            n, q = int(count.value), int(where.value)
            ids = [id, count.id, where.id]
            yield (
                f"The algorithm counted {n} {name} spread over {q} quadrants." if en
                else f"{name}共 {n} 个，分布于 {q} 个象限。"
            ), ids  # fmt: skip
            yield (f"{name.capitalize()} (n = {n}) are present." if en
                   else f"可见{name}，数量为 {n}。"), [id, count.id]  # fmt: skip
            yield (f"{name.capitalize()} are visible." if en else f"眼底可见{name}。"), [id]
            if far is not None and isinstance(far.value, float) and far.unit == "{DD}":
                yield (
                    f"The {name} come as close as {far.value:.1f} DD to the fovea." if en
                    else f"{name}最近处距中心凹约 {far.value:.1f} DD。"
                ), [id, far.id]  # fmt: skip
    for id, english, chinese in (
        ("cdr.vertical", "The vertical CDR measures {v:.2f}.", "垂直杯盘比 {v:.2f}。"),
        ("avr.knudtson", "An arteriovenous ratio of {v:.2f} was obtained.", "动静脉管径比测得 {v:.2f}。"),
        ("fractal-dimension.all", "Vessel fractal dimension: {v:.2f}.", "血管的分形维数是 {v:.2f}。"),
        ("disc-fovea-distance", "Disc and fovea lie {v:.2f} disc diameters apart.",
         "视盘与中心凹相距 {v:.2f} 个视盘直径。"),
        ("temporal-angle", "The temporal arcades enclose an angle of {v:.1f} degrees.", "颞侧主夹角 {v:.1f}°。"),
    ):  # fmt: skip
        fact = by_id.get(id)
        if fact is not None and isinstance(fact.value, float):
            yield (english if en else chinese).format(v=fact.value), [id]
    grade, risk, refer = (by_id.get(i) for i in ("dr-grade", "dme-risk", "dr-referable"))
    if grade is not None:
        p = f"{grade.probability:.2f}"
        yield (f"The retinopathy is graded {grade.value} with a probability of {p}." if en
               else f"视网膜病变分级为 {grade.value} 级，概率为 {p}。"), ["dr-grade"]  # fmt: skip
        if grade.value == "0":
            yield (
                ("There is no diabetic retinopathy." if en else "无糖尿病视网膜病变。"),
                ["dr-grade"],
            )
        elif grade.value in "123":
            word = (("Mild", "Moderate", "Severe") if en else ("轻度", "中度", "重度"))[
                int(grade.value) - 1
            ]
            yield (f"{word} non-proliferative diabetic retinopathy." if en
                   else f"{word}非增殖期糖尿病视网膜病变。"), ["dr-grade"]  # fmt: skip
    if risk is not None:
        yield (f"The risk of macular oedema is {risk.value}." if en
               else f"黄斑水肿风险为 {risk.value} 级。"), ["dme-risk"]  # fmt: skip
    if refer is not None:
        yes = refer.value == "yes"
        if en:
            yield (
                "The patient should be referred to an ophthalmologist."
                if yes else "Referral is not needed."
            ), ["dr-referable"]  # fmt: skip
        else:
            yield ("建议转诊。" if yes else "无需转诊。"), ["dr-referable"]
    side = by_id.get("laterality")
    if side is not None and side.side:
        word = {"R": ("right", "右"), "L": ("left", "左")}[side.side][0 if en else 1]
        yield (
            (f"This is a photograph of the {word} eye." if en else f"这是{word}眼的照片。"),
            ["laterality"],
        )
    quality = by_id.get("quality")
    if quality is not None and quality.value == "good":
        yield ("Image quality is good." if en else "图像质量好。"), ["quality"]


def measure(cases: list[dict]) -> dict:
    """Of each kind how many were found, by case, and of what is true how many stand."""
    found: dict[str, dict[str, list[tuple[str, bool]]]] = defaultdict(lambda: defaultdict(list))
    missed: dict[str, list[str]] = defaultdict(list)
    free: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for case in cases:
        facts = facts_of(case)
        for language in ("en", "zh"):
            rng = random.Random(f"{case['name']} {language}")
            said = [(t, c) for t, c in case["said"][language]]
            for text, cites in said:
                one = check_sentence(text, facts, cites=cites)
                found["true: rule-based"][language].append((case["name"], not one.stands))
                if not one.stands:
                    missed["true: rule-based"].append(text)
                for kind, words, ids in spoilt(text, cites, facts, language, rng):
                    fell = not check_sentence(words, facts, cites=ids).stands
                    found[kind][language].append((case["name"], fell))
                    if not fell:
                        missed[kind].append(f"{words} {ids}")
                    if "citation" not in kind:
                        report = check(words, facts, cited=False)
                        free[kind].append((case["name"], not report.passed))
            for text, ids in paraphrases(facts, language):
                one = check_sentence(text, facts, cites=ids)
                found["true: paraphrased"][language].append((case["name"], not one.stands))
                if not one.stands:
                    missed["true: paraphrased"].append(f"{text} {ids} {one.problems}")
                free["true: paraphrased"].append(
                    (case["name"], not check(text, facts, cited=False).passed)
                )
            free["true: rule-based"].append(
                (case["name"], not check(" ".join(t for t, _ in said), facts, cited=False).passed)
            )
    out = {
        kind: {language: _rate(rows) for language, rows in by.items()}
        | {"without citations": _rate(free[kind]) if kind in free else None}
        for kind, by in found.items()
    }
    return {"photographs": len(cases), "fell": out, "examples of misses": {
        kind: sorted(set(rows))[:6] for kind, rows in missed.items()
    }}  # fmt: skip


def _rate(rows: list[tuple[str, bool]]) -> dict:
    """A share with its interval, resampled by photograph."""
    names = sorted({name for name, _ in rows})
    by = {name: [fell for n, fell in rows if n == name] for name in names}
    rng = random.Random(0)
    shares = []
    for _ in range(1000):
        drawn = [x for name in rng.choices(names, k=len(names)) for x in by[name]]
        shares.append(sum(drawn) / len(drawn))
    shares.sort()
    return {
        "n": len(rows),
        "share": round(sum(f for _, f in rows) / len(rows), 4),
        "interval": [round(shares[24], 4), round(shares[974], 4)],
    }


def by_hand() -> None:
    """Sentences that were written about photographs of the examples, in rounds."""
    import csv

    import osler
    from osler.language.facts import facts

    examples = HERE.parent / "examples"
    told = {name: facts(osler.read(examples / name)) for name in {*_ABOUT.values()}}
    found: dict[tuple, int] = defaultdict(int)
    for row in csv.DictReader((HERE / "reports" / "sentences.csv").open(encoding="utf-8")):
        report = check(row["text"], told[_ABOUT[row["round"]]], cited=False)
        said = "stands" if report.passed else "falls"
        said = "told" if report.passed and report.unread else said
        found[row["round"], row["should"], said] += 1
        if said not in (row["should"], "told"):
            print(f"   [{row['should']}] {row['text']}")
    for (number, should, said), count in sorted(found.items()):
        print(f"round {number}, should {should}: {said} {count}")


def main() -> None:
    """As the head of this file says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", type=int, default=0, metavar="N")
    parser.add_argument("--examples", action="store_true", help="only the examples of Osler")
    parser.add_argument("--sentences", action="store_true", help="those written by hand")
    parser.add_argument("--skip", type=int, default=0, help="photographs looked at before")
    asked = parser.parse_args()
    if asked.read or asked.sentences:
        read(asked.read) if asked.read else by_hand()
        return
    cases = json.loads(CASES.read_text())
    cases = [case for case in cases if case["example"] == asked.examples][asked.skip :]
    result = measure(cases)
    for kind, by in result["fell"].items():
        shown = "  ".join(f"{k} {v['share']:.3f} of {v['n']}" for k, v in by.items() if v)
        print(f"{kind:20} {shown}")
    for kind, rows in result["examples of misses"].items():
        for row in rows:
            print(f"   [{kind}] {row}")
    if not asked.examples:
        RESULT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
