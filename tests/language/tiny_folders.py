"""Folders of transformers with tiny random weights, made on the spot, and a tokenizer for them."""

from pathlib import Path

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}"
    "{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer(*special: str, template: str | None = TEMPLATE):
    """A tokenizer of bytes with a few merges; it writes whatever it is given."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special]
    made.train_from_iterator(
        ["Diabetic retinopathy grade 2, moderate.", "No soft exudates were found."],
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=marks,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", *special],
    )
    if template:
        fast.chat_template = template
    return fast


def qwen2(folder: Path, *, positions: int = 4096, template: str | None = TEMPLATE) -> Path:
    """A Qwen2 of two layers."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    words = tokenizer(template=template)
    torch.manual_seed(0)
    Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=positions,
            pad_token_id=words.pad_token_id, eos_token_id=None, bos_token_id=None,
        )
    ).save_pretrained(folder)  # fmt: skip
    words.save_pretrained(folder)
    return folder


def llama(folder: Path) -> Path:
    """A Llama of one layer, without a template of conversations."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer(template=None)
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
            pad_token_id=words.pad_token_id, eos_token_id=None, bos_token_id=None,
        )
    ).save_pretrained(folder)  # fmt: skip
    words.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    """A LLaVA: CLIP's way of seeing, Llama's way of writing."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    template = TEMPLATE.replace("IMAGE", "<image>")
    words = tokenizer("<image>", template=template)
    torch.manual_seed(0)
    LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                image_size=28, patch_size=14, projection_dim=32,
            ),
            text_config=LlamaConfig(
                vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512,
                eos_token_id=None, bos_token_id=None,
            ),
            image_token_index=words.convert_tokens_to_ids("<image>"),
        )
    ).save_pretrained(folder)  # fmt: skip
    size = {"height": 28, "width": 28}
    LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size),
        tokenizer=words,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


def blip2(folder: Path) -> Path:
    """A BLIP-2 on OPT, which is asked without a template."""
    import torch
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        OPTConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = tokenizer("<image>", template=None)
    torch.manual_seed(0)
    Blip2ForConditionalGeneration(
        Blip2Config(
            vision_config=Blip2VisionConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
                image_size=28, patch_size=14,
            ).to_dict(),
            qformer_config=Blip2QFormerConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
                encoder_hidden_size=32,
            ).to_dict(),
            text_config=OPTConfig(
                vocab_size=len(words), hidden_size=32, ffn_dim=48, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=512, word_embed_proj_dim=32,
                pad_token_id=words.pad_token_id, eos_token_id=None, bos_token_id=None,
            ).to_dict(),
            num_query_tokens=4,
            image_token_index=words.convert_tokens_to_ids("<image>"),
        )
    ).save_pretrained(folder)  # fmt: skip
    Blip2Processor(
        image_processor=BlipImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer=words,
        num_query_tokens=4,
    ).save_pretrained(folder)
    return folder


def instruct_blip(folder: Path) -> Path:
    """An InstructBLIP on OPT, whose way of seeing reads the question too."""
    import torch
    from transformers import (
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
        OPTConfig,
    )
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

    words = tokenizer("<image>", template=None)
    torch.manual_seed(0)
    InstructBlipForConditionalGeneration(
        InstructBlipConfig(
            vision_config=InstructBlipVisionConfig(
                hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
                image_size=28, patch_size=14,
            ).to_dict(),
            qformer_config=InstructBlipQFormerConfig(
                vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                num_attention_heads=2, encoder_hidden_size=32, max_position_embeddings=128,
            ).to_dict(),
            text_config=OPTConfig(
                vocab_size=len(words), hidden_size=32, ffn_dim=48, num_hidden_layers=1,
                num_attention_heads=2, max_position_embeddings=2048, word_embed_proj_dim=32,
                pad_token_id=words.pad_token_id, eos_token_id=None, bos_token_id=None,
            ).to_dict(),
            num_query_tokens=4,
            image_token_index=words.convert_tokens_to_ids("<image>"),
        )
    ).save_pretrained(folder)  # fmt: skip
    InstructBlipProcessor(
        image_processor=BlipImageProcessorPil(size={"height": 28, "width": 28}),
        tokenizer=words,
        qformer_tokenizer=tokenizer(template=None),
        num_query_tokens=4,
    ).save_pretrained(folder)
    return folder


def qwen2_5_vl(folder: Path) -> Path:
    """A Qwen2.5-VL."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    template = TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    words = tokenizer(*marks, template=template)
    id_of = words.convert_tokens_to_ids
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(words), "hidden_size": 32, "intermediate_size": 48,
                "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
                "max_position_embeddings": 1024, "eos_token_id": None, "bos_token_id": None,
                "rope_parameters": {
                    "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4
                },
            },
            vision_config={
                "depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                "out_hidden_size": 32, "patch_size": 14, "window_size": 28,
                "fullatt_block_indexes": [0],
            },
            image_token_id=id_of("<|image_pad|>"), video_token_id=id_of("<|video_pad|>"),
            vision_start_token_id=id_of("<|vision_start|>"),
            vision_end_token_id=id_of("<|vision_end|>"),
        )
    ).save_pretrained(folder)  # fmt: skip
    words.save_pretrained(folder)
    Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=4 * 28 * 28).save_pretrained(folder)
    return folder
