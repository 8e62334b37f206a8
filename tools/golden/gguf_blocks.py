"""Writes tests/golden/gguf.json: blocks of GGUF's quantised types and their float32 values by the gguf package.

Run: python tools/golden/gguf_blocks.py   (needs numpy and gguf 0.19)
Blocks are random bytes whose float16 fields are replaced by ordinary scales; two blocks per type.
`q8_0` and `q4_0` also hold the package's quantisation of `source`, to which our writer is compared.
"""

import json
from pathlib import Path

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

# Byte positions of the float16 fields in a block.
HALVES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}

random = np.random.default_rng(20261120)
decoded = {}
for name, places in HALVES.items():
    kind = GGMLQuantizationType[name]
    _, block_bytes = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, size=(2, block_bytes), dtype=np.uint8)
    for place in places:
        scales = random.uniform(-0.02, 0.02, size=2).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(2, 2)
    values = quants.dequantize(blocks, kind).reshape(-1)
    decoded[name] = {
        "blocks": blocks.tobytes().hex(),
        "values": values.astype("<f4").tobytes().hex(),
    }

source = (random.standard_normal(128) * 0.05).astype(np.float32)
source[32:64] = 0
encoded = {
    name: quants.quantize(source.reshape(1, -1), GGMLQuantizationType[name]).tobytes().hex()
    for name in ["F16", "Q8_0", "Q4_0"]
}
result = {"decoded": decoded, "source": source.astype("<f4").tobytes().hex(), "encoded": encoded}
path = Path(__file__).resolve().parents[2] / "tests" / "golden" / "gguf.json"
path.parent.mkdir(exist_ok=True)
path.write_text(json.dumps(result, indent=1) + "\n")
