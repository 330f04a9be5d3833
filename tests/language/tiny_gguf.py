"""A GGUF file with tiny random weights, for llama.cpp."""

from pathlib import Path

import numpy as np

WIDTH, INNER, HEADS = 32, 64, 2


def gguf_file(path: Path, *, context: int = 2048) -> Path:
    """A Llama of one layer whose words are single bytes."""
    import gguf
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "aa"]
    kind = gguf.TokenType
    kinds = [kind.CONTROL] * 3 + [kind.NORMAL] * (len(letters) + 1)
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    file = gguf.GGUFWriter(path, "llama")
    file.add_context_length(context)
    file.add_embedding_length(WIDTH)
    file.add_block_count(1)
    file.add_feed_forward_length(INNER)
    file.add_head_count(HEADS)
    file.add_head_count_kv(HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(WIDTH // HEADS)
    file.add_vocab_size(len(words))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(words)
    file.add_token_types(kinds)
    file.add_token_merges(["a a"])
    file.add_bos_token_id(0)
    file.add_eos_token_id(2)
    file.add_add_bos_token(False)
    file.add_chat_template(
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    file.add_tensor("token_embd.weight", random(len(words), WIDTH))
    file.add_tensor("output.weight", random(len(words), WIDTH))
    file.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        file.add_tensor(f"blk.0.{name}.weight", random(WIDTH, WIDTH))
    for name in ("attn_norm", "ffn_norm"):
        file.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    file.add_tensor("blk.0.ffn_gate.weight", random(INNER, WIDTH))
    file.add_tensor("blk.0.ffn_up.weight", random(INNER, WIDTH))
    file.add_tensor("blk.0.ffn_down.weight", random(WIDTH, INNER))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
