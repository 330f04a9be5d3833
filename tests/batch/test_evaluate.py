"""A bundle judged on a cohort: figures by hand, kept rows, doubts, and the page."""

import json
import re
import shutil

import numpy as np
import pytest
import small_bundles as small
from PIL import Image as Pillow
from scipy import stats
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

import osler
from osler import metrics
from osler.batch import evaluation
from osler.batch.evaluation import evaluate, figures_of
from osler.batch.evaluation_comparing import comparisons
from osler.batch.evaluation_figures import (
    as_json,
    bands,
    families,
    figured,
    per_case,
    roc,
    subgroups,
)
from osler.batch.evaluation_html import by_label
from osler.cli import app
from osler.data.cohort import read_cohort
from osler.data.digest import row_digest
from osler.data.taught import taught_record
from osler.errors import BundleError, InputError, RecipeError


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    small.squares(folder)
    small.lights(folder)
    small.segmenter(folder / "seg", name="bright")
    small.segmenter(folder / "seg-2", name="brighter", threshold=0.74)
    small.classifier(folder / "light", name="light")
    small.classifier(folder / "light-2", name="contrary", slope=-2.0)
    return folder


@pytest.fixture(scope="module")
def squares_done(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("squares-out")
    done = evaluate(
        place / "seg", place / "squares.csv", out=out, against=place / "seg-2",
        subgroups=["sex", "age"], replicates=300,
    )  # fmt: skip
    return out, done


@pytest.fixture(scope="module")
def lights_done(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("lights-out")
    done = evaluate(
        place / "light", place / "lights.csv", out=out, against=place / "light-2",
        subgroups=["sex"], replicates=150,
    )  # fmt: skip
    return out, done


def read(out):
    return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))


def picture(path):
    return np.asarray(Pillow.open(path)).astype(float)


def test_the_figures_of_masks_are_those_by_hand(place, squares_done):
    said = read(squares_done[0])
    dices = []
    for case in said["cases"]:
        number = case["case"][1:]
        found = picture(place / f"{number}.png") / 255 >= 0.5
        truth = picture(place / f"{number}.mask.png") > 0
        dices.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
        assert case["bundle"]["dice/shape"] == pytest.approx(dices[-1])
    named = {one["name"]: one for one in said["figures"]}
    assert named["Dice, shape"]["value"] == pytest.approx(np.mean(dices))
    assert named["Dice, shape"]["cases"] == 12
    # the same patients, resampled with another stream of chance
    patients = np.array([case["patient"] for case in said["cases"]])
    again = metrics.bootstrap_interval(
        lambda d: float(d.mean()), np.array(dices), groups=patients, seed=9, replicates=4000
    )
    assert named["Dice, shape"]["low"] == pytest.approx(again.low, abs=0.012)
    assert named["Dice, shape"]["high"] == pytest.approx(again.high, abs=0.012)
    assert named["Dice, shape"]["patients"] == len(set(patients))


@pytest.mark.parametrize("which", ["squares_done", "lights_done"])
def test_every_figure_can_be_computed_again_from_the_file_alone(which, request):
    out, done = request.getfixturevalue(which)
    said = read(out)
    assert said == done.content
    for of in ("bundle", "against"):
        again = [as_json(one) for one in figures_of(said, of=of)]
        kept = said["figures"] if of == "bundle" else said["against"]["figures"]
        assert again == kept


def test_the_page_s_own_recipe_for_recomputing_works(lights_done, monkeypatch):
    page = (lights_done[0] / "evaluation.html").read_text(encoding="utf-8")
    code = re.search(r"<pre>(.*?)</pre>", page, re.S).group(1).replace("&#34;", '"')
    monkeypatch.chdir(lights_done[0])
    names: dict[str, object] = {}
    lines = code.strip().splitlines()
    lines[-1] = lines[-1].replace(
        'json.load(open("evaluation.json", encoding="utf-8"))',
        'json.loads(__import__("pathlib").Path("evaluation.json").read_text("utf-8"))',
    )
    exec("\n".join([*lines[:-1], f"got = {lines[-1]}"]), names)
    assert [as_json(one) for one in names["got"]] == read(lights_done[0])["figures"]


def test_areas_and_tests_of_two_classifiers(place, lights_done):
    said = read(lights_done[0])
    truth = np.array([case["bundle"]["truth"] for case in said["cases"]])
    p, q = (np.array([case[of]["probability"][1] for case in said["cases"]])
            for of in ("bundle", "against"))  # fmt: skip
    means = np.array([picture(place / f"{c['case']}.png").mean() for c in said["cases"]]) / 255
    assert p == pytest.approx(1 / (1 + np.exp(-10 * (means - 0.5))), abs=1e-5)
    named = {one["figure"]: one for one in said["comparisons"]}
    area = named["AUROC, light"]
    assert area["first"] == pytest.approx(roc_auc_score(truth, p))
    assert area["second"] == pytest.approx(roc_auc_score(truth, q))
    assert area["test"] == "DeLong"
    assert area["p"] == pytest.approx(slow_delong(truth, p, q))
    assert area["low"] < area["difference"] < area["high"]
    right, other = (p > 0.5) == truth, (q > 0.5) == truth
    gained, lost = int((right & ~other).sum()), int((other & ~right).sum())
    exact = stats.binomtest(gained, gained + lost, 0.5).pvalue
    assert named["accuracy"]["p"] == pytest.approx(exact)
    assert named["accuracy"]["p_holm"] == pytest.approx(
        max(min(exact * (2 if exact < area["p"] else 1), 1), named["accuracy"]["p"])
    )


def slow_delong(truth, p, q):
    """DeLong's test from its definition, pair by pair."""
    parts = []
    for scores in (p, q):
        wins = np.array([[(a > b) + (a == b) / 2 for b in scores[truth == 0]]
                         for a in scores[truth == 1]])  # fmt: skip
        parts.append((wins.mean(1), wins.mean(0), wins.mean()))
    cover = [np.cov(parts[0][k], parts[1][k]) / len(parts[0][k]) for k in (0, 1)]
    table = cover[0] + cover[1]
    z = (parts[0][2] - parts[1][2]) / np.sqrt(table[0, 0] + table[1, 1] - 2 * table[0, 1])
    return 2 * stats.norm.sf(abs(z))


def test_figures_per_case_are_compared_patient_by_patient(squares_done):
    said = read(squares_done[0])
    (row,) = [one for one in said["comparisons"] if one["figure"] == "Dice, shape"]
    gaps = {}
    for case in said["cases"]:
        gap = case["bundle"]["dice/shape"] - case["against"]["dice/shape"]
        gaps.setdefault(case["patient"], []).append(gap)
    assert row["difference"] == pytest.approx(np.mean([g for v in gaps.values() for g in v]))
    assert row["test"] == "permutation by patient"
    # all 2 ** 8 exchanges of the patients by hand
    sums = np.array([sum(v) for v in gaps.values()])
    count = sum(len(v) for v in gaps.values())
    signs = 1 - 2 * ((np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1)
    far = abs(signs @ sums / count) >= abs(row["difference"]) - 1e-12
    assert row["p"] == pytest.approx(far.mean())


def test_subgroups_and_their_gap(lights_done, squares_done):
    said = read(lights_done[0])
    (table,) = [t for t in said["subgroups"] if t["figure"] == "macro AUROC"]
    for one in table["subgroups"]:
        cases = [c["bundle"] for c in said["cases"] if c["subgroups"]["sex"] == one["name"]]
        truth = [c["truth"] for c in cases]
        assert one["value"] == pytest.approx(
            roc_auc_score(truth, [c["probability"][1] for c in cases])
        )
        assert not one["small"]
    values = [one["value"] for one in table["subgroups"]]
    assert table["gap"]["value"] == pytest.approx(max(values) - min(values))
    ages = [t for t in read(squares_done[0])["subgroups"] if t["attribute"] == "age"]
    assert {one["name"] for one in ages[0]["subgroups"]} == {"18-39", "40-59", "60-74", "75+"}
    assert ages[0]["gap"] is None  # every band has fewer than 20 patients


def test_the_roc_curve_encloses_the_area(lights_done):
    said = read(lights_done[0])
    (curve,) = said["curves"]
    area = np.trapezoid(curve["roc"]["sensitivity"], curve["roc"]["false_alarms"])
    named = {one["name"]: one["value"] for one in said["figures"]}
    assert area == pytest.approx(named["macro AUROC"])
    assert sum(curve["reliability"]["counts"]) == 60
    ties = roc(np.array([1, 0, 1, 0]), np.full(4, 0.5))
    assert ties == {"false_alarms": [0, 1], "sensitivity": [0, 1]}
    assert roc(np.ones(3), np.ones(3)) is None


def test_rows_are_taken_up_again_and_only_where_nothing_changed(place, tmp_path, monkeypatch):
    asked = []
    real = evaluation.Judge.row
    monkeypatch.setattr(
        evaluation.Judge, "row", lambda self, case: asked.append(case.id) or real(self, case)
    )
    first = evaluate(place / "seg", place / "squares.csv", out=tmp_path, replicates=50)
    assert len(asked) == 12
    asked.clear()
    more = evaluate(
        place / "seg", place / "squares.csv", out=tmp_path, replicates=60, subgroups=["sex"]
    )
    assert not asked
    assert more.content["figures"][0]["value"] == first.content["figures"][0]["value"]
    evaluate(place / "seg-2", place / "squares.csv", out=tmp_path, replicates=50)
    assert len(asked) == 12  # another bundle


def test_an_interrupted_run_goes_on(place, tmp_path, monkeypatch):
    real = evaluation.Judge.row
    count = 0

    def row(self, case):
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return real(self, case)

    monkeypatch.setattr(evaluation.Judge, "row", row)
    with pytest.raises(KeyboardInterrupt):
        evaluate(place / "seg", place / "squares.csv", out=tmp_path, replicates=50)
    assert not (tmp_path / "evaluation.json").exists()
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"bundle": "half a li')
    evaluate(place / "seg", place / "squares.csv", out=tmp_path, replicates=50)
    assert count == 6 + 7
    assert not (tmp_path / "rows.jsonl").exists()


def test_cases_that_taught_are_told_and_passed_over(place, tmp_path):
    cohort = read_cohort(place / "squares.csv")
    record = json.loads(taught_record({"teach": cohort.rows[:4], "tune": cohort.rows[4:6]}))
    bundle = small.segmenter(tmp_path / "b", taught=record)
    # under other names, in another table
    renamed = (place / "squares.csv").read_text().replace("\nc", "\nother-")
    renamed = re.sub(r",p(\d)", r",x\1", renamed)
    (place / "renamed.csv").write_text(renamed)
    done = evaluate(bundle, place / "renamed.csv", replicates=20)
    assert done.content["cohort"]["judged"] == 6
    assert dict(done.taught)["other-0"] == "teach of 'bright'"
    assert dict(done.taught)["other-4"] == "tune of 'bright'"
    assert {case["case"] for case in done.content["cases"]} == {f"other-{n}" for n in range(6, 12)}
    every = evaluate(bundle, place / "renamed.csv", replicates=20, include_taught=True)
    assert every.content["cohort"]["judged"] == 12
    assert every.content["leaks"]["taught_are_judged"]
    part = type(cohort)(cohort.path, cohort.root, cohort.rows[:3])
    with pytest.raises(InputError, match="left out because they taught"):
        evaluate(bundle, part, replicates=20)


def test_cases_that_cannot_be_judged_are_listed(place, tmp_path):
    (place / "broken.png").write_bytes(b"no picture")
    text = (place / "lights.csv").read_text()
    (place / "faults.csv").write_text(text + "x1,x1,0,broken.png,dark,F,1\nx2,x2,0,l0.png,,F,1\n")
    done = evaluate(place / "light", place / "faults.csv", out=tmp_path, replicates=20)
    why = dict(done.failed)
    assert set(why) == {"x1", "x2"}
    assert "has no label 'class'" in why["x2"]
    assert done.content["cohort"]["judged"] == 60
    page = (tmp_path / "evaluation.html").read_text()
    assert "Cases that could not be judged" in page
    assert "x2" in page


def test_the_same_picture_under_two_patients_is_told(place):
    text = (place / "lights.csv").read_text()
    (place / "twice.csv").write_text(text + "x3,stranger,0,l0.png,dark,F,1\n")
    done = evaluate(place / "light", place / "twice.csv", replicates=20)
    assert done.content["leaks"]["twice"] == [{"cases": ["l0", "x3"], "item": "image"}]


def test_a_bundle_without_a_record_on_its_own_cohort_is_told(place, tmp_path):
    from osler.data.digest import cohort_digest

    training = {
        "recipe": "r", "seed": 1, "minutes": 1.0, "parameters": 1, "date": "2026-01-01",
        "cohort_sha256": cohort_digest(read_cohort(place / "lights.csv")),
    }  # fmt: skip
    bundle = small.classifier(tmp_path / "b", training=training)
    done = evaluate(bundle, place / "lights.csv", out=tmp_path / "out", fold=0, replicates=20)
    assert done.content["leaks"]["same_cohort"] == ["light"]
    assert done.content["cohort"]["judged"] == 20
    assert "cases that taught are judged" in (tmp_path / "out" / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": "nowhere"}, RecipeError, "has no case of split 'nowhere'; its parts: fold 0"),
        ({"fold": 7}, RecipeError, "has no case of fold 7"),
        ({"subgroups": ["site"]}, RecipeError, "no column 'site'.*sex, age"),
        ({"against": "seg"}, BundleError, "of classification and 'bright' of segmentation"),
        ({"replicates": 0}, RecipeError, "replicates is 0"),
        ({"cohort": "gone.csv"}, RecipeError, "no cohort"),
    ],
)
def test_what_cannot_be_judged_is_refused(place, options, error, message):
    said = {**options}
    cohort = place / said.pop("cohort", "lights.csv")
    if "against" in said:
        said["against"] = place / said["against"]
    with pytest.raises(error, match=message):
        evaluate(place / "light", cohort, **said)


def test_a_cohort_without_the_masks_is_refused(place):
    with pytest.raises(RecipeError, match=r"needs the column.* 'label:shape' to be judged"):
        evaluate(place / "seg", place / "lights.csv")


def test_the_page_asks_for_nothing_and_says_all(squares_done):
    page = (squares_done[0] / "evaluation.html").read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    for text in ("Figures", "bright against brighter", "Subgroups", "The worst cases", "Holm"):
        assert text in page
    assert page.count("data:image/png") == 8


def test_words_of_a_cohort_cannot_write_the_page(place, tmp_path):
    text = (place / "lights.csv").read_text().replace(",F,", ",<script>alert(1)</script>,")
    (place / "bad.csv").write_text(text)
    evaluate(place / "light", place / "bad.csv", out=tmp_path, subgroups=["sex"], replicates=20)
    page = (tmp_path / "evaluation.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_command(place, tmp_path):
    run = CliRunner().invoke(
        app,
        ["evaluate", str(place / "light"), str(place / "lights.csv"), "--out", str(tmp_path),
         "--fold", "1", "--against", str(place / "light-2"), "--subgroup", "sex",
         "--replicates", "50", "--quiet"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    assert read(tmp_path)["cohort"]["fold"] == 1
    run = CliRunner().invoke(
        app,
        ["evaluate", str(place / "light"), str(place / "faults.csv"), "-o", str(tmp_path / "f"),
         "--replicates", "20"],
    )  # fmt: skip
    assert run.exit_code == 3
    assert "macro AUROC" in run.output
    run = CliRunner().invoke(
        app, ["evaluate", str(place / "light"), str(place / "no.csv"), "-o", str(tmp_path / "g")]
    )
    assert run.exit_code == 2


def test_the_verb(place):
    done = osler.evaluate(place / "light", place / "lights.csv", fold=0, replicates=20)
    assert {one.name for one in done.figures} >= {"macro AUROC", "accuracy"}
    assert done.folder is None


def test_columns_bands_and_digests(place):
    rows = [{"a/x": 1, "a/y": None, "b": 0.5, "c": [1], "d": True}, {"a/x": 3, "a/y": 2.0, "b": 1.0,
            "c": [2], "d": False}]  # fmt: skip
    assert set(per_case(rows)) == {"a/x", "a/y", "b"}
    assert families(per_case(rows)) == {"a": [1.0, 2.5], "b": [0.5, 1.0]}
    assert bands(["F", None, "M"], "sex") == ["F", "", "M"]
    assert bands([1, 2, 1], "age") == ["1", "2", "1"]  # a few values are classes of their own
    quarters = bands(list(range(12)), "pressure")
    assert len(set(quarters)) == 4
    assert bands([float(n) for n in range(12)], "image size") == quarters  # no age in "image"
    cohort = read_cohort(place / "lights.csv")
    digests = {row_digest(row, cohort.root) for row in cohort.rows}
    assert len(digests) == len(cohort)


class Ranked:
    """A task whose rows hold what no figure is the mean of."""

    settings = None

    def score(self, rows):
        gaps = np.array([row["time"] for row in rows]) - np.array([row["said"] for row in rows])
        return -float(abs(gaps).mean())


def test_a_task_without_figures_per_case_is_compared_by_its_score():
    rng = np.random.default_rng(2)
    times = rng.random(30)
    one = [{"time": t, "said": t + e} for t, e in zip(times, rng.normal(0, 0.1, 30), strict=True)]
    two = [{"time": t, "said": t + e} for t, e in zip(times, rng.normal(0, 0.5, 30), strict=True)]
    patients = [f"p{n}" for n in range(30)]
    figures = [{"name": "concordance", "value": 0.7, "cases": 30}]
    assert figured(per_case(one), figures) == {}
    (row,) = comparisons(Ranked(), one, two, patients, figures, seed=1, replicates=200)
    assert row["figure"] == "score"
    assert row["first"] == pytest.approx(Ranked().score(one))
    assert row["difference"] == pytest.approx(Ranked().score(one) - Ranked().score(two))
    assert row["p"] < 0.05
    assert row["low"] > 0
    by = {"sex": ["F", "M"] * 15}
    (table,) = subgroups(Ranked(), one, patients, by, figures, seed=1, replicates=50)
    assert table["subgroups"][0]["value"] == pytest.approx(Ranked().score(one[::2]))


def test_figures_of_labels_are_a_table():
    names = ["Dice, mean of labels", "Dice, a", "Dice, b", "error (mm², or pixels), a",
             "error (mm², or pixels), b", "error, cup to disc"]  # fmt: skip
    main, labels, columns = by_label([{"name": name} for name in names], ["a", "b"])
    assert [one["name"] for one in main] == ["Dice, mean of labels", "error, cup to disc"]
    assert labels == ["a", "b"]
    assert list(columns) == ["Dice", "error (mm², or pixels)"]
    main, labels, _ = by_label([{"name": "Dice, a"}, {"name": "error, cup to disc"}], ["a"])
    assert len(main) == 2
    assert not labels


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as runner:
        opened = runner.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["squares_done", "lights_done"])
def test_the_page_in_a_browser(browser, which, width, request):
    out, _ = request.getfixturevalue(which)
    page = browser.new_page(viewport={"width": width, "height": 900})
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda one: asked.append(one.url))
    page.goto((out / "evaluation.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []  # the policy lets the page's own style in
    assert page.evaluate("getComputedStyle(document.querySelector('.wrap')).borderRadius") == "14px"
    assert page.locator("section").count() >= 4
    page.close()
