"""People in free text: found on notes made by rule, and measurements left alone on real ones."""

import csv
import importlib.util
import re
import time
from collections import Counter
from pathlib import Path

import held_out_notes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_notes import card, notes

from osler.io.deidentification.free_text import Passage, Scrubber, merged
from osler.io.deidentification.known import Known
from osler.io.deidentification.text_rules import is_identity_card


@pytest.mark.parametrize(("chinese", "least"), [(False, 0.97), (True, 0.99)])
def test_recall_and_precision_on_synthetic_notes(chinese: bool, least: float) -> None:
    scrubber = Scrubber(Known())
    found, there, right, taken = 0, 0, 0, 0
    for text, marks in notes(200, chinese=chinese, seed=3):
        passages = scrubber.passages(text)
        covered = {i for p in passages for i in range(p.start, p.end)}
        wanted = {i for start, end, _ in marks for i in range(start, end)}
        for start, end, _ in marks:
            there += 1
            found += all(i in covered or not text[i].isalnum() for i in range(start, end))
        taken += len(passages)
        right += sum(any(i in wanted for i in range(p.start, p.end)) for p in passages)
    assert found >= least * there, (found, there)
    assert right >= 0.95 * taken, (right, taken)


def test_a_clean_text_stays_clean() -> None:
    scrubber = Scrubber(Known())
    for chinese in (False, True):
        for text, _ in notes(40, chinese=chinese, seed=1):
            once = scrubber.clean(text)
            assert scrubber.clean(once) == once


def test_little_is_taken_from_real_notes(data_dir: Path) -> None:
    scrubber = Scrubber(Known())
    words, taken = 0, Counter[str]()
    for folder in ("cxr-structures", "cxr-outcomes"):
        with (data_dir / folder / "images.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                text = row["clinical_notes"]
                words += len(text.split())
                taken.update(p.kind for p in scrubber.passages(text))
    assert words > 10_000
    assert sum(taken.values()) < 0.01 * words
    assert taken["DATE"] >= 25
    assert taken["PLACE"] >= 15


ODD = [
    ("dob 7.XII.1948, seen 2-vi-07", "dob [DATE], seen [DATE]"),
    ("seen on 17/6, power 5/5", "seen on [DATE], power 5/5"),
    ("Hosp No 55 192 834; pager 551", "Hosp No [ID]; pager [ID]"),
    ("from Great Snodbury (HR4 9QT)", "from [PLACE] ([PLACE])"),
    ("He lives at The Willows, Chapel Street with his son", "He lives at [PLACE] with his son"),
    ("plate KX51 ABC", "plate [ID]"),
    ("dictated by T. Okwuosa", "dictated by [NAME]"),
    ("taken over from T. Okwuosa today", "taken over from [NAME] today"),
    ("Stable.\nOkwuosa Tamsin\n", "Stable.\n[NAME]\n"),
    ("Frau Wiesengrund informiert", "Frau [NAME] informiert"),
    ("生于昭和45年3月2日，随访（22.10.3）", "生于[DATE]，随访（[DATE]）"),
    ("甲辰年八月十五日随访", "[DATE]随访"),
    ("微信：abc_nn，其妻诸葛红，陪同", "微信：[ID]，其妻[NAME]，陪同"),
    ("老赵，转307医院", "[NAME]，转[PLACE]"),
    ("Seen by Nguyễn Thị Minh, José Ángel Ibarra", "Seen by [NAME], [NAME]"),
    ("KOWALCZYK, Bartosz | called son dermot", "[NAME] | called son [NAME]"),
    ("her maiden name was van der Hoeven; aged 93", "her maiden name was [NAME]; aged [AGE]"),
    ("informed 23/6 02:10 on Christmas Eve", "informed [DATE] [TIME] on [DATE]"),
    ("姓名：古丽娜尔·买买提，已通知钱主任", "姓名：[NAME]，已通知[NAME]主任"),
    ("经副主任医师司徒慧会诊，毕业于南开大学", "经副主任医师[NAME]会诊，毕业于[PLACE]"),
    ("家住河北省沧州市解放西路118号锦绣花园3栋2单元501室", "家住[PLACE]"),
]


@pytest.mark.parametrize(("text", "clean"), ODD)
def test_odd_forms(text: str, clean: str) -> None:
    assert Scrubber(Known()).clean(text) == clean


KEPT = [
    "The nodule measures 12.5 x 8 mm (previously 11 mm), SUVmax 4.2, volume 1234 mm3.",
    "BP 120/80 mmHg, HR 72 bpm, SpO2 98%, temperature 38.2 C, WBC 11,400, platelets 250000/uL.",
    "L4/L5 disc herniation. T12 fracture. C5-C6 stenosis. BI-RADS 4. Gleason 3+4=7.",
    "Graves disease, Hodgkin lymphoma, Foley catheter, Swan-Ganz catheter, Crohn's disease.",
    "RT-PCR positive; COVID-19; T1-weighted and T2-weighted images; b=1000; TE 90 ms.",
    "双肺纹理增多，右肺上叶见直径约12mm结节，边界清，CT值约35HU。高血压病史10年。",
    "Left Lower Lobe\nCardiac Surgery Department\nCT head at 10 mm.",
    "病灶大小约10.5×8.3mm，小叶间隔增厚，直径小于5mm，老年女性。",
    "Cotton wool spots, a Weiss ring; Goldmann and Perkins tonometry agreed; Ann Arbor stage II.",
    "The Snellen, Ishihara and Amsler charts; Humphrey 24-2; Stop Adcal, continue Lucentis.",
    "White dot syndrome; Glasgow Coma Scale 15; circle of Willis; Bruch's membrane; Roth spots.",
    "白带正常，黄体期，方形钢板，处方医师，周围血管，柯萨奇病毒，马方综合征，唐氏筛查。",
    "血压120/80mmHg，体温38.5℃，心率72次/分，白细胞11.4×10^9/L。左侧胸腔少量积液。",
]


@pytest.mark.parametrize("text", KEPT)
def test_findings_stay(text: str) -> None:
    assert Scrubber(Known()).clean(text) == text


def test_what_the_header_knows_is_found_in_any_variant() -> None:
    known = Known()
    known.add_name("Zzyqx^Vrblt=子^虚")
    known.add_id("QX77")
    known.add_date("19500203")
    scrubber = Scrubber(known)
    for text in (
        "Vrblt Zzyqx",
        "ZZYQX, VRBLT",
        "zzyqx^vrblt",
        "子虚",
        "QX77",
        "03.02.1950",
        "2/3/1950",
        "3 Feb 1950",
        "1950年2月3日",
        "19500203",
    ):
        assert scrubber.known_only(f"of {text} here") in {
            f"of [{kind}] here" for kind in ("NAME", "ID", "DATE")
        }, text


def test_a_model_adds_what_it_finds() -> None:
    def model(text: str) -> list[Passage]:
        at = text.index("zork")
        return [Passage(at, at + 4, "NAME")]

    assert Scrubber(Known(), model=model).clean("seen zork on ward") == "seen [NAME] on ward"


def test_identity_cards_by_their_check_digit() -> None:
    import random

    number = card(random.Random(1))
    assert is_identity_card(number)
    wrong = number[:-1] + ("1" if number[-1] != "1" else "2")
    assert not is_identity_card(wrong)
    assert Scrubber(Known()).clean(f"证件 {number} 与 {wrong}") == "证件 [ID] 与 [ID]"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_cleaned_and_passages_do_not_overlap(text: str) -> None:
    known = Known()
    known.add_name("Smith^John")
    passages = Scrubber(known).passages(text)
    assert passages == merged(passages)
    assert all(0 <= p.start < p.end <= len(text) for p in passages)


@pytest.mark.parametrize("part", ["a", "A, ", "1", "a-", "A-", "de ", "0-", "王", "Dr Aa ", "A'"])
def test_time_grows_with_the_length_alone(part: str) -> None:
    scrubber = Scrubber(Known())
    scrubber.passages("Dr Smith")  # lists are read once
    start = time.process_time()
    scrubber.passages(part * (30_000 // len(part)))
    assert time.process_time() - start < 8  # 30 and more where a rule looks back at all before it


def test_long_texts_are_cut_where_no_name_is_cut() -> None:
    scrubber = Scrubber(Known())
    line = "The nodule is stable and was seen by Dr Wilhelmina Okwuosa on 12 May 2021 at length. "
    once = scrubber.clean(line)
    assert once.count("[") == 2
    for gap in range(0, 120, 31):  # wherever the cut falls
        text = "x" * gap + " " + line * 60
        assert scrubber.clean(text) == "x" * gap + " " + once * 60


LETTERS = Path(__file__).parents[3] / "benchmarks" / "letters"


@pytest.mark.parametrize(
    ("which", "least", "rightly"),
    [
        ("english-1", 0.98, 0.97),
        ("english-2", 0.87, 0.90),
        ("chinese-1", 0.99, 0.99),
        ("chinese-2", 0.88, 0.90),
    ],
)
def test_letters_that_were_marked_before_the_rules(
    which: str, least: float, rightly: float, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("letters", LETTERS.with_suffix(".py"))
    assert spec is not None
    assert spec.loader is not None
    letters = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(letters)
    letters.judge(LETTERS / f"{which}.txt", show=False)
    said = capsys.readouterr().out
    whole, right = re.search(r"([\d.]+) whole", said), re.search(r"([\d.]+) rightly", said)
    assert whole is not None
    assert right is not None
    assert float(whole[1]) >= least
    assert float(right[1]) >= rightly


@pytest.mark.parametrize(("which", "least"), [(held_out_notes.EN, 30), (held_out_notes.ZH, 18)])
def test_notes_in_other_words(which: list[str], least: int) -> None:
    scrubber = Scrubber(Known())
    found = wrong = 0
    for note in which:
        text, marks = held_out_notes.labelled(note)
        passages = scrubber.passages(text)
        covered = {i for p in passages for i in range(p.start, p.end)}
        found += sum(any(i in covered for i in range(a, b)) for a, b, _ in marks)
        wanted = {i for a, b, _ in marks for i in range(a, b)}
        wrong += sum(not any(i in wanted for i in range(p.start, p.end)) for p in passages)
    assert found >= least
    assert wrong <= 1
