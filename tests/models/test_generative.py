"""Networks that write: opened from folders, adapted, converted, and the same as transformers'."""

import json
import re

import numpy as np
import pytest
import torch

from osler import models
from osler.errors import RecipeError, UnreadableError, WeightsError
from osler.models.deepdr_llm import AdaptedLinear, answer_loss, prompt
from osler.models.generative import CLASSES
from osler.models.trying import example, tiny


def logits(net, name, **changes):
    with torch.inference_mode():
        return net(**{**example(name), **changes}).logits


@pytest.mark.parametrize("name", list(CLASSES))
def test_a_local_folder_is_opened_as_transformers_wrote_it(name, tmp_path):
    torch.manual_seed(1)
    net = tiny(name)
    net.save_pretrained(tmp_path / "folder")
    again = models.create(name, checkpoint=tmp_path / "folder")
    assert torch.equal(logits(again, name), logits(net, name))
    assert again.report.share == 1
    assert not again.report.unexpected
    assert again.card.name == name
    models.keep(again, tmp_path / "kept")
    kept = models.create(name, checkpoint=tmp_path / "kept")
    assert torch.equal(logits(kept, name), logits(net, name))


def test_a_folder_that_does_not_fit_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    net = tiny("llama")
    net.save_pretrained(tmp_path / "llama")
    with pytest.raises(
        WeightsError, match="of the kind 'llama', and 'qwen2-5' of the kind 'qwen2'"
    ):
        models.create("qwen2-5", checkpoint=tmp_path / "llama")
    with pytest.raises(RecipeError, match="hidden_size cannot be said beside it"):
        models.create("llama", checkpoint=tmp_path / "llama", hidden_size=48)
    file = tmp_path / "llama/model.safetensors"
    stored = load_file(file)
    del stored["model.layers.1.mlp.up_proj.weight"]
    save_file(stored, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"layers\.1\.mlp\.up_proj"):
        models.create("llama", checkpoint=tmp_path / "llama")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UnreadableError, match="cannot be opened"):
        models.create("llama", checkpoint=tmp_path / "llama")


def test_a_misspelt_field_is_named():
    with pytest.raises(RecipeError, match="these options: hidden_sise"):
        models.create("llama", weights="random", hidden_sise=3)
    with pytest.raises(RecipeError, match="LoRA found no layer"):
        tiny("llama", lora={"rank": 2, "targets": ["query"]})


@pytest.mark.parametrize("name", ["llama", "llava", "blip-2"])
def test_only_low_rank_updates_learn(name):
    torch.manual_seed(2)
    plain = tiny(name)
    torch.manual_seed(2)
    net = tiny(name, lora={"rank": 2})
    assert torch.equal(logits(net, name), logits(plain, name))  # they start as nothing
    learning = [key for key, value in net.named_parameters() if value.requires_grad]
    assert learning
    assert all("lora_" in key for key in learning)


def test_words_are_written_one_after_another():
    torch.manual_seed(3)
    net = tiny("llava")
    inputs = example("llava", batch=1)
    with torch.inference_mode():
        written = net.generate(**inputs, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert written.shape[1] <= inputs["input_ids"].shape[1] + 4
    best = logits(net, "llava", **inputs)[0, -1].argmax()
    assert written[0, inputs["input_ids"].shape[1]] == best


def published(net):
    """The tensors of a LLaVA in the names and with the vocabulary of LLaVA-Med's folder."""
    out = {}
    for name, value in net.state_dict().items():
        new = re.sub(r"^model\.multi_modal_projector\.linear_1\.", "model.mm_projector.0.", name)
        new = re.sub(r"^model\.multi_modal_projector\.linear_2\.", "model.mm_projector.2.", new)
        new = re.sub(
            r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model.", new
        )
        new = re.sub(r"^model\.language_model\.", "model.", new)
        grown = new in ("model.embed_tokens.weight", "lm_head.weight")
        out[new] = (value[:-2] if grown else value).clone()
    return out


def test_the_folder_of_llava_med_is_converted(tmp_path):
    torch.manual_seed(4)
    net = tiny("llava-med")
    torch.save(published(net), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_mistral"}))
    heads = {"num_attention_heads": 2}
    small = net.options
    again = models.create(
        "llava-med",
        checkpoint=tmp_path,
        text={**small["text"], **heads},
        vision={**small["vision"], **heads},
    )
    assert {name for name, *_ in again.report.reshaped} == {
        "lm_head.weight",
        "model.language_model.embed_tokens.weight",
    }
    assert not again.report.unexpected
    inputs = example("llava-med")
    with torch.inference_mode():
        assert torch.allclose(
            again(**inputs).logits[..., :-2], net(**inputs).logits[..., :-2], atol=1e-5
        )
    rows = again.get_input_embeddings().weight
    assert torch.allclose(rows[-1], rows[:-2].mean(0), atol=1e-6)


def test_both_adapters_are_what_the_paper_writes():
    torch.manual_seed(5)
    base = torch.nn.Linear(6, 4)
    layer = AdaptedLinear(base, rank=3, alpha=6.0, dropout=0.5).eval()
    torch.nn.init.normal_(layer.lora_b.weight)
    x = torch.randn(5, 6)
    w, b, a_, b_, m1, m2 = (
        t.detach().double().numpy()
        for t in (
            base.weight, base.bias, layer.lora_a.weight, layer.lora_b.weight,
            layer.serial_down.weight, layer.serial_up.weight,
        )
    )  # fmt: skip
    for row, said in zip(x.double().numpy(), layer(x).detach().numpy(), strict=True):
        y = w @ row + b
        true = y + m2 @ np.maximum(m1 @ y, 0) + 2.0 * (b_ @ (a_ @ row))
        assert np.allclose(said, true, atol=1e-5)


def test_the_language_module_learns_its_adapters_alone():
    net = tiny("deepdr-llm", serial_start="zero")
    learning = [key for key, value in net.named_parameters() if value.requires_grad]
    assert len(learning) == 2 * 2 * 4  # two layers, two projections, four matrices
    assert all("lora_" in key or "serial_" in key for key in learning)
    torch.manual_seed(6)
    adapted = tiny("deepdr-llm", serial_start="zero")
    torch.manual_seed(6)
    assert torch.allclose(logits(adapted, "llama"), logits(tiny("llama"), "llama"), atol=1e-6)


def test_the_question_names_the_patient_and_then_the_findings():
    said = prompt({"DR Grade": 2}, instruction="Advise.", system="You are a doctor.", Age=47)
    assert said == (
        "[INST] <<SYS>>\nYou are a doctor.\n<</SYS>>\n\nAdvise.\n{Age: 47; DR Grade: 2} [/INST]"
    )


def test_words_of_the_question_do_not_count():
    torch.manual_seed(7)
    scores, ids = torch.randn(1, 5, 9), torch.tensor([[3, 1, 4, 1, 5]])
    asked = torch.tensor([[True, True, True, False, False]])
    true = -scores.log_softmax(-1)[0, [2, 3], [1, 5]].mean()
    assert torch.allclose(answer_loss(scores, ids, asked), true)
