"""Makes tests/engine/types.gguf: blocks of every type, and what the `gguf` package makes of them.

    pip install gguf==0.19.0
    python tests/engine/make_types.py

For each type there is a tensor of its name with random blocks, and beside it `NAME.f32` with the same
weights in full. The scales in the blocks are finite; all other bits are random.
"""

import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
ROWS, COLUMNS = 2, 512
# Where the scales in f16 stand in a block.
SCALES = {
    "F32": [], "F16": [], "BF16": [], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}


def blocks(name, random):
    kind = gguf.GGMLQuantizationType[name]
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    if name in ("F32", "F16", "BF16"):
        return gguf.quantize(random.standard_normal((ROWS, COLUMNS)).astype(np.float32), kind)
    found = random.integers(0, 256, (ROWS * COLUMNS // weights, size), dtype=np.uint8)
    for at in SCALES[name]:
        found[:, at + 1] &= 0xBF  # no infinity and no NaN: the highest bit of the exponent is not set
    return found.reshape(ROWS, -1)


random = np.random.default_rng(5)
writer = gguf.GGUFWriter(HERE / "types.gguf", "none")
for name in SCALES:
    kind = gguf.GGMLQuantizationType[name]
    raw = blocks(name, random)
    full = gguf.dequantize(raw, kind).astype(np.float32).reshape(ROWS, COLUMNS)
    assert np.isfinite(full).all(), name
    writer.add_tensor(name, raw, raw_dtype=kind)
    writer.add_tensor(f"{name}.f32", full)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
