"""Where fixtures lie and how they are written: compact JSON whose numbers are exact float32s, float32 safetensors, fixed threads and seeds."""
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
from safetensors.torch import save_file
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden"


def make_deterministic() -> None:
    """One thread and deterministic kernels, so that a second run writes the same bytes on the same machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    logging.disable_progress_bar()


def versions(*modules) -> dict:
    """Name and version of what made a fixture."""
    return {"python": platform.python_version(), **{module.__name__: module.__version__ for module in modules}}


def numbers(values) -> list:
    """A tensor, or a sequence of numbers, as a flat list."""
    return values.detach().reshape(-1).tolist() if isinstance(values, torch.Tensor) else list(values)


def write_json(path: Path, value) -> None:
    """Floats with 9 significant digits, which identify a float32; lists of scalars on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(value, 0) + "\n")


def write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Rounds to float32 and writes safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().to(torch.float32).contiguous() for name, tensor in tensors.items()}, path)


def _text(value, depth: int) -> str:
    pad, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        rows = [f"{pad}{json.dumps(key)}: {_text(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}" if rows else "{}"
    if isinstance(value, (list, tuple)):
        if not any(isinstance(item, (dict, list, tuple)) for item in value):
            return "[" + ",".join(_text(item, depth) for item in value) + "]"
        return "[\n" + ",\n".join(pad + _text(item, depth + 1) for item in value) + f"\n{outer}]"
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"Cannot write {value} to a fixture: expected a finite number")
        return f"{value + 0.0:.9g}"  # + 0.0: no negative zeros
    return json.dumps(value)
