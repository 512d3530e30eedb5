"""Writes the trained guide as GGUF: Q8_0 matrices, F32 norms, tokenizer and chat template inside.

Usage: python export_gguf.py GUIDE.pt TOKENIZER.json OUT.gguf
"""
import json
import sys

import gguf
import numpy as np
import torch

from train import CONFIG

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
            " + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LAYER = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v",
         "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}


def name_of(key):
    """The GGUF name of a parameter."""
    if key == "embed.weight":
        return "token_embd.weight"
    if key == "norm.weight":
        return "output_norm.weight"
    _, number, part, _ = key.split(".")
    return f"blk.{number}.{LAYER[part]}.weight"


def main():
    state, tokenizer, out = torch.load(sys.argv[1]), json.load(open(sys.argv[2], encoding="utf-8")), sys.argv[3]
    c = CONFIG
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_name("guide")
    writer.add_description("The small guide that is built into Strongroom")
    writer.add_license("Apache-2.0 OR MIT")
    writer.add_context_length(c["context"])
    writer.add_embedding_length(c["width"])
    writer.add_block_count(c["layers"])
    writer.add_feed_forward_length(c["hidden"])
    writer.add_head_count(c["heads"])
    writer.add_head_count_kv(c["kv_heads"])
    writer.add_rope_dimension_count(c["width"] // c["heads"])
    writer.add_rope_freq_base(c["base"])
    writer.add_layer_norm_rms_eps(c["eps"])
    writer.add_vocab_size(c["vocab"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    vocabulary = tokenizer["model"]["vocab"]
    tokens = [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    control = {added["content"] for added in tokenizer["added_tokens"]}
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    for key, value in state["model"].items():
        data = value.float().numpy()
        if data.ndim == 1:
            writer.add_tensor(name_of(key), data)
        else:
            packed = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name_of(key), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"step {state['step']}, {state['tokens']} tokens, held-out loss {state['held_out']:.3f}")


if __name__ == "__main__":
    main()
