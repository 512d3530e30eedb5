"""Makes the first files of fuzz/corpus/model_file: headers of models so small that most changes to
them reach something. What the fuzzer finds is kept beside them.

    pip install gguf==0.19.0
    python fuzz/make_corpus.py
"""

import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent / "corpus" / "model_file"
TEMPLATE = ("{%- for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}</s>{% endfor %}"
            "{%- if add_generation_prompt %}<|assistant|>{% endif %}")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WIDTH, HIDDEN = 32, 64


def spm(writer):
    tokens = ["<unk>", "<s>", "</s>", *BYTES, "▁", "T", "h", "e", "Th", "he", "The", "▁The", "q", "u", "qu"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [-float(at) for at in range(len(tokens) - 259)])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def bpe(pre):
    def write(writer):
        letters = [chr(at) for at in range(33, 127)] + ["Ġ", "Ċ", "ĉ"]
        tokens = letters + ["Ġt", "he", "Ġthe", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
        writer.add_token_merges(["Ġ t", "h e", "Ġt he"])
        writer.add_eos_token_id(len(tokens) - 3)
        writer.add_chat_template(TEMPLATE)
        return len(tokens)
    return write


def wordpiece(writer):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "▁q", "uick", "▁fox"]
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 4 + [1] * 4)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    return len(tokens)


def matrix(writer, name, shape, kind):
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    raw = np.zeros((*shape[:-1], shape[-1] // weights * size), dtype=np.uint8)
    if kind in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
        raw = np.zeros(shape, dtype=np.float32 if size == 4 else np.float16)
    writer.add_tensor(name, raw, raw_dtype=kind)


def model(name, arch, tokenizer, kind="Q8_0", experts=0, heads=2):
    kind = gguf.GGMLQuantizationType[kind]
    path = HERE / name
    writer = gguf.GGUFWriter(path, arch)
    vocabulary = tokenizer(writer)
    width = 256 if gguf.GGML_QUANT_SIZES[kind][0] == 256 else WIDTH
    writer.add_context_length(128)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_sliding_window(8)
    writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(1)
        writer.add_expert_feed_forward_length(width)
    vector = lambda name, size: writer.add_tensor(name, np.zeros(size, dtype=np.float32))
    matrix(writer, "token_embd.weight", (vocabulary, width), kind)
    vector("output_norm.weight", width)
    feed = "post_attention_norm" if arch == "gpt-oss" else "ffn_norm"
    for norm in ("attn_norm", feed):
        vector(f"blk.0.{norm}.weight", width)
    for part, rows in (("q", width), ("k", width // heads), ("v", width // heads), ("output", width)):
        matrix(writer, f"blk.0.attn_{part}.weight", (rows, width), kind)
    if arch == "gpt-oss":
        vector("blk.0.attn_sinks.weight", heads)
    if experts:
        writer.add_tensor("blk.0.ffn_gate_inp.weight", np.zeros((experts, width), dtype=np.float32))
    for part in ("gate", "up", "down"):
        if experts:
            matrix(writer, f"blk.0.ffn_{part}_exps.weight", (experts, width, width), kind)
            writer.add_tensor(f"blk.0.ffn_{part}_exps.bias", np.zeros((experts, width), dtype=np.float32))
        else:
            matrix(writer, f"blk.0.ffn_{part}.weight", (width, width), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    bytes = path.read_bytes()
    path.write_bytes(bytes[:gguf.GGUFReader(path).data_offset])


HERE.mkdir(parents=True, exist_ok=True)
model("llama-spm", "llama", spm)
model("llama-f16", "llama", spm, "F16")
model("llama-q4k", "llama", bpe("llama-bpe"), "Q4_K")
model("llama-q6k", "llama", bpe("gpt-2"), "Q6_K")
model("llama-q3k", "llama", bpe("gpt-2"), "Q3_K")
model("llama-iq4xs", "llama", bpe("gpt-2"), "IQ4_XS")
model("qwen2-iq4nl", "qwen2", bpe("qwen2"), "IQ4_NL")
model("qwen2-q51", "qwen2", bpe("qwen2"), "Q5_1")
model("gpt-oss", "gpt-oss", bpe("gpt-4o"), "MXFP4", experts=2)
model("mixtral", "llama", spm, "Q4_0", experts=2)
model("bert", "bert", wordpiece)
