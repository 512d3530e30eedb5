"""Makes the models of tests/engine/golden and what they answer, by an implementation that is not ours.

For each family a small random model is built by `transformers`, its weights are rounded to what Q8_0
(experts of gpt-oss: MXFP4) can hold, and both the file that we read (by the `gguf` package; as F32 it means the same) and the
logits of that model are written. Run by hand where a family is added:

    pip install torch==2.15.0 transformers==5.23.0 gguf==0.19.0
    python tests/engine/make_golden.py [FAMILY ...]

Next to NAME.gguf lie NAME.tokens (u32: the prompt, then 64 greedy tokens), NAME.logits
(f32: [prompt, vocabulary]) and NAME.rounded, the logits where rows are rounded to eight bits before
they are multiplied with quantized weights, as every engine for such weights does; all little-endian.
"""

import contextlib
import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers as hf

Q8_0, MXFP4 = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.MXFP4
HERE = pathlib.Path(__file__).parent / "golden"
VOCABULARY = 256
PROMPT = 24
GREEDY = 64
BASE = dict(
    vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
    tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
LINEAR = dict(rope_type="linear", factor=8.0, rope_theta=1000000.0)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, rope_theta=10000.0)
YARN_TOLD = YARN | dict(beta_fast=8.0, beta_slow=2.0)
# As gpt-oss has it: the border between fast and slow pairs is not rounded to whole pairs.
YARN_EXACT = YARN | dict(truncate=False)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64, rope_theta=10000.0)


def longrope(dimensions):
    grows = [1.0 + 0.25 * i for i in range(dimensions // 2)]
    return dict(rope_type="longrope", short_factor=[1.0] * len(grows), long_factor=grows,
                rope_theta=10000.0, original_max_position_embeddings=16, factor=32.0)


# name: (architecture in GGUF, configuration class, what differs)
FAMILIES = {
    "llama": ("llama", hf.LlamaConfig, dict()),
    "llama-biased": ("llama", hf.LlamaConfig, dict(attention_bias=True, mlp_bias=True)),
    "llama3": ("llama", hf.LlamaConfig, dict(tie_word_embeddings=True, rope_parameters=LLAMA3)),
    "mistral": ("llama", hf.MistralConfig, dict(head_dim=32)),
    "mixtral": ("llama", hf.MixtralConfig, dict(num_local_experts=4, num_experts_per_tok=2)),
    "qwen2": ("qwen2", hf.Qwen2Config, dict()),
    "qwen2-yarn": ("qwen2", hf.Qwen2Config, dict(rope_parameters=YARN)),
    "qwen3": ("qwen3", hf.Qwen3Config, dict(head_dim=32)),
    "qwen3-yarn": ("qwen3", hf.Qwen3Config, dict(head_dim=32, rope_parameters=YARN_TOLD)),
    "qwen3moe": ("qwen3moe", hf.Qwen3MoeConfig, dict(
        head_dim=32, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=32,
        norm_topk_prob=True, decoder_sparse_step=1)),
    "gemma2": ("gemma2", hf.Gemma2Config, dict(
        head_dim=32, sliding_window=8, query_pre_attn_scalar=32, tie_word_embeddings=True)),
    "gemma3": ("gemma3", hf.Gemma3TextConfig, dict(
        head_dim=32, sliding_window=8, query_pre_attn_scalar=32, tie_word_embeddings=True,
        num_hidden_layers=7)),
    "gemma3-linear": ("gemma3", hf.Gemma3TextConfig, dict(
        head_dim=32, sliding_window=8, query_pre_attn_scalar=32, tie_word_embeddings=True,
        rope_parameters={"full_attention": LINEAR,
                         "sliding_attention": dict(rope_type="default", rope_theta=10000.0)},
        layer_types=["sliding_attention", "full_attention"] * 2)),
    "phi3": ("phi3", hf.Phi3Config, dict(num_key_value_heads=4, sliding_window=12)),
    "phi4-mini": ("phi3", hf.Phi3Config, dict(
        partial_rotary_factor=0.75, tie_word_embeddings=True, hidden_size=128,
        original_max_position_embeddings=16, rope_parameters=longrope(24) | dict(partial_rotary_factor=0.75))),
    "granite": ("granite", hf.GraniteConfig, dict(
        embedding_multiplier=3.0, residual_multiplier=0.6, attention_multiplier=0.2,
        logits_scaling=2.5)),
    "smollm3": ("smollm3", hf.SmolLM3Config, dict(no_rope_layers=[1, 1, 1, 0], num_hidden_layers=4)),
    "glm4": ("glm4", hf.Glm4Config, dict(head_dim=32, attention_bias=True, partial_rotary_factor=0.5)),
    "olmo2": ("olmo2", hf.Olmo2Config, dict()),
    "olmo3": ("olmo2", hf.Olmo3Config, dict(
        sliding_window=8, layer_types=["sliding_attention"] * 3 + ["full_attention", "sliding_attention"],
        num_hidden_layers=5,
        rope_parameters={"full_attention": YARN,
                         "sliding_attention": dict(rope_type="default", rope_theta=10000.0)})),
    "starcoder2": ("starcoder2", hf.Starcoder2Config, dict(
        use_bias=True, tie_word_embeddings=True, sliding_window=None)),
    "command-r": ("command-r", hf.CohereConfig, dict(logit_scale=0.5, tie_word_embeddings=True)),
    "gpt-oss": ("gpt-oss", hf.GptOssConfig, dict(
        head_dim=32, num_local_experts=8, num_experts_per_tok=3, sliding_window=8,
        rope_parameters=YARN_EXACT)),
    "cohere2": ("cohere2", hf.Cohere2Config, dict(
        logit_scale=0.5, tie_word_embeddings=True, sliding_window=8, head_dim=16)),
}
# Families whose rotary pairs stand side by side in GGUF, though `transformers` has them in halves.
PERMUTED = {"llama", "granite", "smollm3"}


def build(config_class, changes):
    config = config_class(**(BASE | changes))
    config._attn_implementation = "eager"
    torch.manual_seed(7)
    model = hf.AutoModelForCausalLM.from_config(config).eval().float()
    state = {}
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim == 1 and "norm" in name and name.endswith("weight"):
                centre = 0.0 if "Gemma" in type(model).__name__ else 1.0
                value.copy_(centre + 0.2 * torch.randn_like(value))
            elif name.endswith("sinks"):
                value.copy_(torch.randn_like(value))
            elif value.ndim == 1 or name.endswith("_bias"):
                value.copy_(0.1 * torch.randn_like(value))
            elif name.endswith("_proj") and isinstance(config, hf.GptOssConfig):
                # [experts, in, out], and MXFP4 in the file, where it is the other way round.
                # So large that some elements are beyond the limit of the clamped unit.
                size = 4.5 if "gate_up" in name else 0.3
                turned = torch.randn_like(value).transpose(1, 2) * (value.shape[1] ** -0.5) * size
                value.copy_(on_grid(turned.contiguous(), MXFP4).transpose(1, 2))
            else:
                value.copy_(torch.randn_like(value) * (value.shape[-1] ** -0.5) * 1.5)
                if "embed_tokens" in name and config.tie_word_embeddings:
                    # Else the token itself is the likeliest to follow it, whatever the layers say.
                    value.mul_(0.05 if "Gemma" in type(model).__name__ else 0.3)
                value.copy_(on_grid(value))
    for name, value in model.state_dict().items():
        state[name] = value.detach().numpy()
    return config, model, state


@contextlib.contextmanager
def rounding(model):
    """Rounds what matrices are multiplied with: 32 numbers to a scale, codes from -127 to 127."""
    # Routers are numbers in the file.
    routers = (".mlp.gate.weight", ".block_sparse_moe.gate.weight", ".mlp.router.weight")
    exact = {id(value) for name, value in model.named_parameters() if name.endswith(routers)}
    linear, matmul = torch.nn.functional.linear, torch.Tensor.__matmul__

    def rounded(rows):
        groups = rows.reshape(*rows.shape[:-1], -1, 32)
        largest = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30)
        return (torch.round(groups * (127 / largest)) * (largest / 127)).reshape(rows.shape)

    def rounded_linear(rows, weight, bias=None):
        return linear(rows if id(weight) in exact else rounded(rows), weight, bias)

    def rounded_matmul(rows, other):
        return matmul(rounded(rows) if other.ndim == 2 else rows, other)

    for module in model.modules():
        if hasattr(module, "config"):
            # One expert after the other, by the functions that are replaced here.
            module.config._experts_implementation = "eager"
    torch.nn.functional.linear, torch.Tensor.__matmul__ = rounded_linear, rounded_matmul
    try:
        yield
    finally:
        torch.nn.functional.linear, torch.Tensor.__matmul__ = linear, matmul


def on_grid(value, kind=Q8_0):
    """What is left of a matrix in a quantized type."""
    array = value.detach().numpy()
    flat = array.reshape(-1, array.shape[-1])
    return torch.from_numpy(gguf.dequantize(gguf.quantize(flat, kind), kind).reshape(array.shape))


def interleaved(weight, heads):
    """Rows of halves to rows of neighbours."""
    shape = weight.shape
    return weight.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def tensors(arch, config, state):
    """The tensors under their names in GGUF."""
    names = gguf.get_tensor_name_map(
        next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == arch),
        config.num_hidden_layers)
    out = {}
    for name, value in state.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if "rotary_emb" in name:
            continue
        if arch in PERMUTED and ".q_proj." in name:
            value = interleaved(value, config.num_attention_heads)
        if arch in PERMUTED and ".k_proj." in name:
            value = interleaved(value, config.num_key_value_heads)
        if arch.startswith("gemma") and "norm" in name:
            value = value + 1.0
        block = name.split(".layers.")[-1].split(".")[0]
        if arch == "gpt-oss" and ".experts." in name:
            ending = "bias" if name.endswith("_bias") else "weight"
            value = value if ending == "bias" else value.swapaxes(1, 2)
            if ".down_proj" in name:
                out[f"blk.{block}.ffn_down_exps.{ending}"] = value
            else:
                out[f"blk.{block}.ffn_gate_exps.{ending}"] = value[:, ::2]
                out[f"blk.{block}.ffn_up_exps.{ending}"] = value[:, 1::2]
            continue
        if name.endswith(".sinks"):
            out[f"blk.{block}.attn_sinks.weight"] = value
            continue
        if name.endswith("experts.gate_up_proj"):
            gate, up = np.split(value, 2, axis=1)
            out[f"blk.{block}.ffn_gate_exps.weight"] = gate
            out[f"blk.{block}.ffn_up_exps.weight"] = up
            continue
        if name.endswith("experts.down_proj"):
            out[f"blk.{block}.ffn_down_exps.weight"] = value
            continue
        if ".mlp.gate.weight" in name or ".block_sparse_moe.gate.weight" in name:
            out[f"blk.{block}.ffn_gate_inp.weight"] = value
            continue
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if new is None:
            raise SystemExit(f"{arch}: no name for {name}")
        out[new] = value
    return out


def rope(writer, out, config):
    parameters = getattr(config, "rope_parameters", None) or {}
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if "full_attention" in parameters:
        parameters = parameters["full_attention"]
    writer.add_rope_freq_base(parameters.get("rope_theta", 10000.0))
    share = parameters.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", 1.0) or 1.0)
    writer.add_rope_dimension_count(int(head_dim * share))
    kind = parameters.get("rope_type", "default")
    if kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(parameters["factor"])
        writer.add_rope_scaling_orig_ctx_len(parameters["original_max_position_embeddings"])
        if "beta_fast" in parameters:
            writer.add_rope_scaling_yarn_beta_fast(parameters["beta_fast"])
            writer.add_rope_scaling_yarn_beta_slow(parameters["beta_slow"])
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(parameters["factor"])
    if kind == "llama3":
        # The factors as llama.cpp's converter computes them from these numbers.
        half = torch.arange(0, head_dim, 2).float() / head_dim
        frequency = 1.0 / (parameters["rope_theta"] ** half)
        low = parameters["original_max_position_embeddings"] / parameters["low_freq_factor"]
        high = parameters["original_max_position_embeddings"] / parameters["high_freq_factor"]
        factors = []
        for f in frequency.tolist():
            length = 2 * np.pi / f
            if length < high:
                factors.append(1.0)
            elif length > low:
                factors.append(parameters["factor"])
            else:
                smooth = (parameters["original_max_position_embeddings"] / length - parameters["low_freq_factor"]) / (
                    parameters["high_freq_factor"] - parameters["low_freq_factor"])
                factors.append(1.0 / ((1 - smooth) / parameters["factor"] + smooth))
        out["rope_freqs.weight"] = np.array(factors, dtype=np.float32)
    if kind == "longrope":
        original = config.original_max_position_embeddings
        writer.add_rope_scaling_orig_ctx_len(original)
        scale = config.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / np.log(original))))
        out["rope_factors_long.weight"] = np.array(parameters["long_factor"], dtype=np.float32)
        out["rope_factors_short.weight"] = np.array(parameters["short_factor"], dtype=np.float32)


def write(path, arch, config, state):
    writer = gguf.GGUFWriter(path, arch)
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_name(path.stem)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if arch in ("starcoder2", "command-r", "cohere2"):
        epsilon = getattr(config, "norm_epsilon", None) or config.layer_norm_eps
        writer.add_layer_norm_eps(epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if path.stem in ("gemma2", "gemma3", "phi3", "cohere2", "gpt-oss") and config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    if path.stem in ("olmo3", "gemma3-linear"):
        writer.add_sliding_window(config.sliding_window)
        windows = [kind == "sliding_attention" for kind in config.layer_types]
        writer.add_sliding_window_pattern(windows if arch == "olmo2" else 2)
    if arch == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if arch == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)
    if arch in ("command-r", "cohere2"):
        writer.add_logit_scale(config.logit_scale)
    experts = getattr(config, "num_local_experts", None) or getattr(config, "num_experts", None)
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        if arch == "qwen3moe":
            writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        if arch == "gpt-oss":
            writer.add_expert_feed_forward_length(config.intermediate_size)
    out = tensors(arch, config, state)
    rope(writer, out, config)
    writer.add_tokenizer_model("llama")
    tokens = ["<unk>", "<s>", "</s>"] + [f"t{number}" for number in range(3, VOCABULARY)]
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([2, 3, 3] + [1] * (VOCABULARY - 3))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, value in out.items():
        value = np.ascontiguousarray(value, dtype=np.float32)
        kind = MXFP4 if arch == "gpt-oss" and "_exps" in name else Q8_0
        if value.ndim > 1 and "ffn_gate_inp" not in name and not name.endswith(".bias"):
            writer.add_tensor(name, gguf.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(name):
    arch, config_class, changes = FAMILIES[name]
    config, model, state = build(config_class, changes)
    prompt = torch.randint(3, VOCABULARY, (1, PROMPT), generator=torch.Generator().manual_seed(11))
    with torch.no_grad():
        logits = model(prompt, use_cache=False).logits[0].float().numpy()
        tokens = prompt
        for _ in range(GREEDY):
            last = model(tokens, use_cache=False).logits[0, -1]
            tokens = torch.cat([tokens, last.argmax().reshape(1, 1)], dim=1)
        with rounding(model):
            rounded = model(prompt, use_cache=False).logits[0].float().numpy()
    HERE.mkdir(exist_ok=True)
    write(HERE / f"{name}.gguf", arch, config, state)
    (HERE / f"{name}.logits").write_bytes(logits.astype("<f4").tobytes())
    (HERE / f"{name}.rounded").write_bytes(rounded.astype("<f4").tobytes())
    (HERE / f"{name}.tokens").write_bytes(tokens[0].numpy().astype("<u4").tobytes())
    print(name, "distinct greedy tokens", len(set(tokens[0, PROMPT:].tolist())), "largest logit", float(np.abs(logits).max()),
          "rounding moves", float(np.abs(rounded - logits).max() / np.abs(logits).max()))


for name in sys.argv[1:] or FAMILIES:
    make(name)
