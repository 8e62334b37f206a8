"""PEFT adapters on three of the tiny models, with logits and the gradients of A and B. Writes tests/golden/lora/. Run models.py first."""
import json
import shutil
import warnings

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

from batches import make_batches, measure, run
from fixture import ROOT, make_deterministic, versions, write_json, write_tensors
from models import load

# name: (base, LoRA settings). "all-linear" is every linear layer but the output layer (lm_head).
ADAPTERS = {
    "llama-all-linear": ("llama", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "llama-qv-rslora": ("llama", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    "qwen2-all-linear": ("qwen2", dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "qwen3-all-linear": ("qwen3", dict(r=4, lora_alpha=8, target_modules="all-linear")),
}
# These store every element of batch 0's gradients; golden.json has summaries for all adapters and batches.
FULL_GRADIENTS = ("llama-all-linear", "qwen3-all-linear")


def saved_name(name: str) -> str:
    """A parameter's name in adapter_model.safetensors: the adapter's own name, "default", is left out."""
    return name.replace(".default.", ".")


def randomise(model, seed: int) -> None:
    """B starts at zero in PEFT, which would hide A; both get weights that move the logits."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 if "lora_A" in name else 0.1))


def write_adapter(index: int, name: str) -> None:
    base, settings = ADAPTERS[name]
    folder = ROOT / "lora" / name
    shutil.rmtree(folder, ignore_errors=True)
    plain = load(ROOT / "models" / base)
    plain.name_or_path = plain.config._name_or_path = f"models/{base}"
    batches = make_batches(plain.config.vocab_size, 400 + index)
    before = [sequence["logits"] for batch in batches for sequence in run(plain, batch)["sequences"]]

    model = get_peft_model(plain, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings)).eval()
    randomise(model, 300 + index)
    model.save_pretrained(folder)
    tidy(folder)

    reloaded = PeftModel.from_pretrained(load(ROOT / "models" / base), folder, is_trainable=True).eval()
    records, gaps, gradients = measure(reloaded, batches, saved_name)
    after = [sequence["logits"] for batch in batches for sequence in run(reloaded, batch)["sequences"]]
    assert max((a - b).abs().max().item() for a, b in zip(before, after, strict=True)) > 0.05
    check_merged(base, folder, batches, after)
    if name in FULL_GRADIENTS:
        write_tensors(folder / "grads.safetensors", gradients)
    write_json(folder / "golden.json", {"madeWith": versions(torch, transformers, peft), "base": base, "scaling": scaling_of(reloaded), "float32Gap": gaps, "batches": records})
    print(f"{name}: {sum(g.numel() for g in gradients.values())} trained, float32 gap {gaps}")


def tidy(folder) -> None:
    """Drops PEFT's model card and gives the target names an order, which PEFT leaves to the hash seed."""
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"].sort()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def scaling_of(model) -> float:
    """What PEFT multiplies B A x by: alpha / r, or alpha / sqrt(r) with rsLoRA. One number for all layers here."""
    (value,) = {layer.scaling["default"] for layer in model.modules() if hasattr(layer, "scaling") and hasattr(layer, "lora_A")}
    return value


def check_merged(base: str, folder, batches, expected) -> None:
    """A second path: the adapter merged into the weights gives the same logits."""
    merged = PeftModel.from_pretrained(load(ROOT / "models" / base), folder).merge_and_unload().eval()
    actual = [sequence["logits"] for batch in batches for sequence in run(merged.requires_grad_(True), batch)["sequences"]]
    assert max((a - b).abs().max().item() for a, b in zip(actual, expected, strict=True)) < 1e-5


if __name__ == "__main__":
    make_deterministic()
    warnings.filterwarnings("ignore", message="Could not find a config file")
    for index, name in enumerate(ADAPTERS):
        write_adapter(index, name)
