"""Loads a model folder that Hone wrote in transformers, and compares logits.

usage: check_model.py MODEL_DIR TOKENS_JSON LOGITS_JSON [TOLERANCE]
TOKENS_JSON: a list of token id lists. LOGITS_JSON: what Hone computed, per sequence one row of logits per token.
Exits with 1 when the largest difference is above TOLERANCE (2e-5) or weights are missing or unexpected.
"""
import json
import sys

from fixture import make_deterministic  # first: it keeps the hub out

import torch
from transformers import AutoModelForCausalLM

from exact import exact_copy, reset_rotary


def load_strictly(folder: str):
    """The model in float32; refuses a folder whose tensors are not exactly the model's."""
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if problems:
        sys.exit(f"Cannot load {folder} exactly: {problems}")
    return model.eval()


def compare(model, tokens_path: str, logits_path: str, tolerance: float) -> None:
    """Prints the largest difference from float64 logits and exits with 0 or 1."""
    with open(tokens_path) as tokens_file, open(logits_path) as logits_file:
        sequences, ours = json.load(tokens_file), json.load(logits_file)
    if len(sequences) != len(ours):
        sys.exit(f"Cannot compare: {tokens_path} has {len(sequences)} sequences, {logits_path} has {len(ours)}")
    exact, worst = exact_copy(model), 0.0
    for index, (tokens, rows) in enumerate(zip(sequences, ours)):
        reset_rotary(exact)
        with torch.no_grad():
            expected = exact(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
        actual = torch.tensor(rows, dtype=torch.float64).reshape(len(tokens), -1)
        if actual.shape != expected.shape:
            sys.exit(f"Cannot compare: logits of sequence {index} are {list(actual.shape)}, expected {list(expected.shape)}")
        worst = max(worst, (actual - expected).abs().max().item())
    passed = worst <= tolerance
    print(json.dumps({"sequences": len(sequences), "largestDifference": worst, "tolerance": tolerance, "passed": passed}))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    make_deterministic()
    compare(load_strictly(sys.argv[1]), sys.argv[2], sys.argv[3], float((sys.argv[4:] or [2e-5])[0]))
