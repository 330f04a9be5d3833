"""Networks that write, asked from the command line about real pictures and texts."""

import csv
from pathlib import Path

import numpy as np
import pytest
import tiny_folders
import torch
from typer.testing import CliRunner

from osler import io, models
from osler.cli import app
from osler.tasks.canvas import rgb

PICTURE = Path(__file__).parents[2] / "examples/idrid-073.jpg"


def blip(folder):
    """A BLIP, which writes captions and was taught no conversation."""
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipProcessor
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = tiny_folders.tokenizer(template=None)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    tokens = {"bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2, "pad_token_id": 0}
    BlipForConditionalGeneration(
        BlipConfig(
            vision_config={**small, "num_attention_heads": 2, "image_size": 28, "patch_size": 14},
            text_config={
                **small, **tokens, "num_attention_heads": 2, "vocab_size": len(words),
                "encoder_hidden_size": 32,
            },
        )
    ).save_pretrained(folder)  # fmt: skip
    BlipProcessor(
        image_processor=BlipImageProcessorPil(size={"height": 28, "width": 28}), tokenizer=words
    ).save_pretrained(folder)
    return folder


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def texts(folder):
    with (folder / "predictions.csv").open() as stream:
        return [row["text"] for row in csv.DictReader(stream)]


def test_a_caption_is_what_transformers_writes_of_the_picture(tmp_path):
    from PIL import Image
    from transformers import BlipForConditionalGeneration, BlipProcessor

    folder = blip(tmp_path / "blip")
    assert models.inspect(folder).looks_like == [("blip", "Hugging Face")]
    said = predict(folder, PICTURE, "-o", tmp_path / "out")
    assert said.exit_code == 0, said.stderr
    net, processor = (
        BlipForConditionalGeneration.from_pretrained(folder),
        BlipProcessor.from_pretrained(folder),
    )
    pixels = rgb(io.load(PICTURE)["photo"]).transpose(1, 2, 0)
    seen = processor(images=[Image.fromarray(np.ascontiguousarray(pixels))], return_tensors="pt")
    written = net.generate(**seen, max_new_tokens=128, do_sample=False)
    true = processor.decode(written[0], skip_special_tokens=True)
    assert "".join(texts(tmp_path / "out")[0].split()) == "".join(true.split())
    asked = predict(
        "blip", "--checkpoint", folder, PICTURE, "-o", tmp_path / "b", "--prompt", "Red?"
    )
    assert asked.exit_code == 0, asked.stderr
    assert texts(tmp_path / "b") != texts(tmp_path / "out")


def test_an_imported_folder_keeps_its_words_and_is_read_by_transformers(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = tiny_folders.llava(tmp_path / "llava")
    arguments = ["models", "import", str(folder), "--as", "llava", "--out", str(tmp_path / "kept")]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0, said.output
    there = AutoModelForImageTextToText.from_pretrained(tmp_path / "kept", use_safetensors=True)
    before = AutoModelForImageTextToText.from_pretrained(folder)
    one, other = there.state_dict(), before.state_dict()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert AutoProcessor.from_pretrained(tmp_path / "kept").tokenizer is not None
    again = models.create("llava", checkpoint=tmp_path / "kept")
    assert again.report.share == 1
    for place, out in ((folder, "a"), (tmp_path / "kept", "b")):
        said = predict(place, PICTURE, "-o", tmp_path / out, "--prompt", "Is there a haemorrhage?")
        assert said.exit_code == 0, said.stderr
    assert texts(tmp_path / "a") == texts(tmp_path / "b")


def test_llava_med_is_imported_and_asked(tmp_path):
    import json
    import re

    from osler.models.trying import tiny

    torch.manual_seed(0)
    words = tiny_folders.tokenizer(template=None)
    heads = {"num_attention_heads": 2}
    small = models.find("llava-med").card.tiny
    text = {**small["text"], **heads, "vocab_size": len(words) + 2, "max_position_embeddings": 512}
    vision = {**small["vision"], **heads}
    net = tiny("llava-med", text=text, vision=vision)
    rename = (
        (r"^model\.multi_modal_projector\.linear_1", "model.mm_projector.0"),
        (r"^model\.multi_modal_projector\.linear_2", "model.mm_projector.2"),
        (r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model."),
        (r"^model\.language_model\.", "model."),
    )
    out = {}
    for name, value in net.state_dict().items():
        for ours, theirs in rename:
            name = re.sub(ours, theirs, name)  # noqa: PLW2901
        grown = name in ("model.embed_tokens.weight", "lm_head.weight")
        out[name] = (value[:-2] if grown else value).clone()
    folder = tmp_path / "published"
    words.save_pretrained(folder)
    torch.save(out, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"model_type": "llava_mistral"}))
    sized = [f"--set=text={json.dumps(text)}", f"--set=vision={json.dumps(vision)}"]
    arguments = ["models", "import", str(folder), "--as", "llava-med", "-o", str(tmp_path / "kept")]
    said = CliRunner().invoke(app, [*arguments, *sized])
    assert said.exit_code == 0, said.output
    from transformers import AutoProcessor

    wide = np.zeros((28, 84, 3), np.uint8)  # taught padded to a square, so nothing is cut off
    wide[:, :28] = wide[:, 56:] = 255
    seen = AutoProcessor.from_pretrained(tmp_path / "kept").image_processor(wide)["pixel_values"]
    row = np.asarray(seen[0])[0, 14]
    assert row[1] > 1 > row[14]
    assert row[26] > 1
    said = predict("llava", "--checkpoint", tmp_path / "kept", PICTURE, "-o", tmp_path / "out")
    assert said.exit_code == 0, said.stderr
    assert len(texts(tmp_path / "out")) == 1


def test_a_language_model_is_asked_about_texts(tmp_path):
    folder = tiny_folders.qwen2(tmp_path / "qwen2")
    (tmp_path / "note.txt").write_text("The optic disc is pale.")
    said = predict(folder, tmp_path / "note.txt", "-o", tmp_path / "o")
    assert said.exit_code == 2
    assert "--prompt" in said.stderr
    said = predict(
        folder, tmp_path / "note.txt", PICTURE, "-o", tmp_path / "o", "--prompt", "Short: {}"
    )
    assert said.exit_code == 3
    assert "holds no text" in said.stderr
    assert len(texts(tmp_path / "o")) == 1


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["llama", "--prompt", "x"], "--checkpoint DIR"),
        (["llava-med"], "osler models import FOLDER --as llava-med"),
        (["deepdr-llm", "--prompt", "x"], "adapter of its own"),
        (["blip", "--features"], "takes --prompt, and none of"),
        (["retfound-vit-large", "--prompt", "x"], "--prompt goes with --labels"),
    ],
)
def test_what_cannot_be_asked_is_said(tmp_path, asked, says):
    said = predict(*asked, PICTURE, "-o", tmp_path / "out")
    assert said.exit_code == 2
    assert says in " ".join(said.stderr.split())
    assert not (tmp_path / "out").exists()
