"""Loads a LoRA adapter that Hone wrote in PEFT, on its base model in transformers, and compares logits.

usage: check_adapter.py MODEL_DIR ADAPTER_DIR TOKENS_JSON LOGITS_JSON [TOLERANCE]
Files as in check_model.py. Exits with 1 when the largest difference is above TOLERANCE (2e-5), when the adapter's
tensors are not exactly those its configuration calls for, or when the adapter changes nothing.
"""
import sys

from fixture import make_deterministic  # first: it keeps the hub out

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file

from check_model import compare, load_strictly


def load_adapter(model_folder: str, adapter_folder: str):
    """Base and adapter; every tensor of the file must be in the model and the other way round, with the same values."""
    model = PeftModel.from_pretrained(load_strictly(model_folder), adapter_folder).eval()
    stored, loaded = load_file(f"{adapter_folder}/adapter_model.safetensors"), get_peft_model_state_dict(model)
    if stored.keys() != loaded.keys():
        sys.exit(f"Cannot load {adapter_folder} exactly: only in the file {sorted(stored.keys() - loaded.keys())}, only in the model {sorted(loaded.keys() - stored.keys())}")
    changed = [name for name in stored if not stored[name].float().equal(loaded[name].float())]
    if changed:
        sys.exit(f"Cannot load {adapter_folder} exactly: {changed} differ after loading")
    if not any(tensor.abs().max() > 0 for name, tensor in stored.items() if "lora_B" in name):
        sys.exit(f"Cannot check {adapter_folder}: every lora_B is zero, so the adapter changes nothing. Train it first")
    return model


if __name__ == "__main__":
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    make_deterministic()
    compare(load_adapter(sys.argv[1], sys.argv[2]), sys.argv[3], sys.argv[4], float((sys.argv[5:] or [2e-5])[0]))
