"""Writes tests/golden/python.safetensors with the safetensors library.

Run: python tools/golden/safetensors_file.py   (needs numpy, torch, safetensors)
The test checks that we read it and that our writer gives the same bytes for the same tensors.
Values: element i of a floating tensor is (i - 3) * 0.37 rounded to the dtype.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file


def ramp(shape, dtype):
    count = 1
    for size in shape:
        count *= size
    return ((torch.arange(count, dtype=torch.float64) - 3) * 0.37).reshape(shape).to(dtype)


tensors = {
    "b.float32": ramp([2, 3], torch.float32),
    "a.float16": ramp([4], torch.float16),
    "a.bfloat16": ramp([2, 2], torch.bfloat16),
    "c.float64": ramp([3], torch.float64),
    "d.int64": torch.tensor([-(2**40), 7], dtype=torch.int64),
    "e.int32": torch.tensor([-5, 6], dtype=torch.int32),
    "f.int16": torch.tensor([-300], dtype=torch.int16),
    "g.int8": torch.tensor([-1, 2, 3], dtype=torch.int8),
    "h.uint8": torch.tensor([200, 1], dtype=torch.uint8),
    "i.bool": torch.tensor([True, False, True]),
    "j.scalar": torch.tensor(1.5, dtype=torch.float32),
    "k.empty": torch.zeros([0, 3], dtype=torch.float32),
    "ö.float32": ramp([1], torch.float32),
}
path = Path(__file__).resolve().parents[2] / "tests" / "golden" / "python.safetensors"
path.parent.mkdir(exist_ok=True)
save_file(tensors, path, metadata={"format": "pt"})
