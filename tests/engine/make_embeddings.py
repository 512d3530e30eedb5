"""Makes the models of tests/engine/embeddings and what they give, by an implementation that is not ours.

For each kind a small random model is built by `transformers`, its matrices are rounded to what Q8_0 can
hold, and both the file that we read and the vectors (or judgements) of that model are written. Run by
hand where a kind is added:

    pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0
    python tests/engine/make_embeddings.py [KIND ...]

Next to KIND.gguf lie KIND.texts (u32: for each text its length, where the second part begins, and the
tokens) and KIND.vectors (f32: one after the other), all little-endian.

With `minilm FOLDER` it writes what the real all-MiniLM-L6-v2 gives for the sentences of minilm.json,
where FOLDER has the files of the model as they are published.
"""

import json
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers as hf

HERE = pathlib.Path(__file__).parent
VOCABULARY, WIDTH, HIDDEN, LAYERS, HEADS, CONTEXT = 256, 64, 96, 3, 4, 128
CLS, SEP, FIRST = 2, 3, 5
Q8_0 = gguf.GGMLQuantizationType.Q8_0
BASE = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=HIDDEN,
            num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=CONTEXT)

BERT = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
NOMIC = {
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "attn_output_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "post_mlp_layernorm": "layer_output_norm",
}
QWEN3 = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
OUTER = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
    "embed_tokens": "token_embd", "norm": "output_norm",
    "pooler.dense": "cls", "classifier": "cls.output",
}
# kind: (architecture in GGUF, pooling in GGUF, names of a layer, model)
KINDS = {
    "bert-mean": ("bert", 1, BERT, lambda: hf.BertModel(hf.BertConfig(**BASE), add_pooling_layer=False)),
    "bert-cls": ("bert", 2, BERT, lambda: hf.BertModel(hf.BertConfig(**BASE), add_pooling_layer=False)),
    "bert-rank": ("bert", 4, BERT, lambda: hf.BertForSequenceClassification(
        hf.BertConfig(**BASE, num_labels=1))),
    "nomic-bert": ("nomic-bert", 1, NOMIC, lambda: hf.NomicBertModel(
        hf.NomicBertConfig(**BASE), add_pooling_layer=False)),
    "qwen3-embedding": ("qwen3", 3, QWEN3, lambda: hf.Qwen3Model(hf.Qwen3Config(
        **BASE, num_key_value_heads=2, head_dim=32, tie_word_embeddings=True))),
}


def on_grid(value):
    flat = value.detach().numpy().reshape(-1, value.shape[-1])
    return torch.from_numpy(gguf.dequantize(gguf.quantize(flat, Q8_0), Q8_0).reshape(value.shape))


def build(make):
    torch.manual_seed(7)
    model = make().eval().float()
    model.config._attn_implementation = "eager"
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1:
                centre = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                value.copy_(centre + 0.2 * torch.randn_like(value))
            else:
                value.copy_(on_grid(torch.randn_like(value) * value.shape[-1] ** -0.5 * 1.5))
    return model


def named(model, layer_names):
    out = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("bert.")
        stem, kind = name.rsplit(".", 1)
        if kind not in ("weight", "bias"):
            continue
        parts = stem.split("layer.")[-1] if "encoder.layer." in stem else stem.removeprefix("layers.")
        number, _, inner = parts.partition(".")
        if number.isdigit():
            if inner in layer_names:
                out[f"blk.{number}.{layer_names[inner]}.{kind}"] = value.numpy()
            else:
                out[f"blk.{number}.{inner}.{kind}"] = value.numpy()
        else:
            out[f"{OUTER[stem]}.{kind}"] = value.numpy()
    for number in range(LAYERS):
        # Nomic's own files have the three over one another.
        three = [out.pop(f"blk.{number}.self_attn.{part}_proj.weight", None) for part in "qkv"]
        if three[0] is not None:
            out[f"blk.{number}.attn_qkv.weight"] = np.concatenate(three)
    return out


def write(path, arch, pooling, model, layer_names):
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(path.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_pooling_type(gguf.PoolingType(pooling))
    if arch == "qwen3":
        writer.add_head_count_kv(2)
        writer.add_key_length(32)
        writer.add_value_length(32)
        writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    else:
        writer.add_causal_attention(False)
        writer.add_layer_norm_eps(model.config.layer_norm_eps)
    if arch == "nomic-bert":
        writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    if arch == "qwen3":
        writer.add_tokenizer_model("llama")
        writer.add_token_list(["<unk>", "<s>", "</s>"] + [f"t{n}" for n in range(3, VOCABULARY)])
        writer.add_token_scores([0.0] * VOCABULARY)
        writer.add_token_types([2, 3, 3] + [1] * (VOCABULARY - 3))
        writer.add_eos_token_id(2)
        writer.add_add_eos_token(True)
    else:
        names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        writer.add_tokenizer_model("bert")
        writer.add_token_list(names + [f"\u2581t{n}" for n in range(FIRST, VOCABULARY)])
        writer.add_token_types([3] * FIRST + [1] * (VOCABULARY - FIRST))
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(CLS)
        writer.add_sep_token_id(SEP)
    for name, value in named(model, layer_names).items():
        value = np.ascontiguousarray(value, dtype=np.float32)
        if value.ndim > 1:
            writer.add_tensor(name, gguf.quantize(value, Q8_0), raw_dtype=Q8_0)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def pool(rows, pooling):
    vector = {1: rows.mean(0), 2: rows[0], 3: rows[-1]}[pooling]
    return vector / vector.norm()


def make(kind):
    arch, pooling, layer_names, make_model = KINDS[kind]
    model = build(make_model)
    random = torch.Generator().manual_seed(11)
    texts, vectors = [], []
    for length in (4, 3, 33, 70, CONTEXT, 12):
        tokens = torch.randint(FIRST, VOCABULARY, (1, length), generator=random)
        second = length
        kinds = torch.zeros_like(tokens)
        if arch != "qwen3":
            tokens[0, 0], tokens[0, -1] = CLS, SEP
        if pooling == 4:
            second = max(2, length // 3)
            tokens[0, second - 1] = SEP
            kinds[0, second:] = 1
        with torch.no_grad():
            if pooling == 4:
                vector = model(tokens, token_type_ids=kinds).logits[0]
            else:
                vector = pool(model(tokens).last_hidden_state[0], pooling)
        texts += [length, second, *tokens[0].tolist()]
        vectors += vector.tolist()
    folder = HERE / "embeddings"
    folder.mkdir(exist_ok=True)
    write(folder / f"{kind}.gguf", arch, pooling, model, layer_names)
    (folder / f"{kind}.texts").write_bytes(np.array(texts, dtype="<u4").tobytes())
    (folder / f"{kind}.vectors").write_bytes(np.array(vectors, dtype="<f4").tobytes())
    print(kind, vectors[:4])


def minilm(folder):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModel.from_pretrained(folder).eval().float()
    path = HERE / "minilm.json"
    sentences = json.loads(path.read_text())["sentences"]
    vectors = []
    for sentence in sentences:
        with torch.no_grad():
            rows = model(**tokenizer(sentence, return_tensors="pt")).last_hidden_state[0]
        vectors.append([round(x, 6) for x in pool(rows, 1).tolist()])
    lines = ",\n".join("  " + json.dumps(vector, separators=(",", ":")) for vector in vectors)
    texts = ",\n".join("  " + json.dumps(text, ensure_ascii=False) for text in sentences)
    path.write_text(f'{{"sentences": [\n{texts}\n],\n"vectors": [\n{lines}\n]}}\n')


if sys.argv[1:2] == ["minilm"]:
    minilm(sys.argv[2])
else:
    for kind in sys.argv[1:] or KINDS:
        make(kind)
