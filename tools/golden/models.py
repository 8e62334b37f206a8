"""Tiny random models in Hugging Face layout with their logits, losses and gradients. Writes tests/golden/models/."""
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from batches import make_batches, measure, run
from exact import rotary_of
from fixture import ROOT, make_deterministic, versions, write_json, write_tensors

WIDE = dict(vocab_size=64, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
# Two heads of 16: eight rotary frequencies, so that a scaling has fast, middle and slow ones to treat differently.
DEEP = WIDE | dict(num_attention_heads=2, num_key_value_heads=1)
IDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=None)

# name: (model type, settings as transformers 5 takes them, the rope part of the config as hub repositories of this family write it)
MODELS = {
    "llama": ("llama", WIDE | dict(rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), dict(rope_theta=10000.0, rope_scaling=None)),
    "llama-tied": ("llama", WIDE | dict(rms_norm_eps=1e-5, tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=500.0)), dict(rope_theta=500.0, rope_scaling=None)),
    "llama-rope-llama3": ("llama", DEEP | dict(tie_word_embeddings=True, rms_norm_eps=1e-5, max_position_embeddings=256, rope_parameters=dict(rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)),
        dict(rope_theta=500.0, rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32, rope_type="llama3"))),
    "mistral": ("mistral", WIDE | dict(head_dim=12, sliding_window=6, rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), dict(rope_theta=10000.0)),
    "qwen2": ("qwen2", WIDE | dict(tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), dict(rope_theta=1000000.0)),
    "qwen2-untied": ("qwen2", WIDE | dict(num_key_value_heads=4, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=10000.0)), dict(rope_theta=10000.0)),
    "qwen2-rope-yarn": ("qwen2", DEEP | dict(tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=32)),
        dict(rope_theta=500.0, rope_scaling=dict(factor=4.0, original_max_position_embeddings=32, type="yarn"))),
    "qwen3": ("qwen3", WIDE | dict(tie_word_embeddings=True, head_dim=16, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1000000.0)), dict(rope_theta=1000000, rope_scaling=None)),
    "deepseek-coder-linear": ("llama", DEEP | dict(num_key_value_heads=2, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=4.0)), dict(rope_theta=500.0, rope_scaling=dict(factor=4.0, type="linear"))),
    "deepseek-coder-dynamic": ("llama", DEEP | dict(tie_word_embeddings=True, rms_norm_eps=1e-6, max_position_embeddings=8, rope_parameters=dict(rope_type="dynamic", rope_theta=500.0, factor=2.0)), dict(rope_theta=500.0, rope_scaling=dict(factor=2.0, type="dynamic"))),
}

# What else hub configs of a family hold and transformers ignores or derives. Qwen2's window is off by its own switch.
HUB_EXTRAS = {
    "llama": dict(pretraining_tp=1),
    "mistral": {},
    "qwen2": dict(use_sliding_window=False, sliding_window=4, max_window_layers=1),
    "qwen3": dict(use_sliding_window=False, sliding_window=None, max_window_layers=2, attention_bias=False),
}
HUB_ARCHITECTURES = {"llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}

# These store every element of batch 0's gradients; golden.json has summaries for all models and batches.
FULL_GRADIENTS = ("llama", "qwen2", "qwen3")

# Same weights, another config: logits and logprobs only. Layer 0 sees everything, layer 1 a window of 5.
VARIANTS = {"qwen2-untied": {"window": dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)}}


def randomise(model, seed: int) -> None:
    """No weight keeps a trivial value: norms near 1, biases of both signs, projections large enough that attention is not flat."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name:
                parameter.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "embed" in name:
                parameter.copy_((0.2 if model.config.tie_word_embeddings else 0.5) * noise)
            else:
                parameter.copy_(noise * (1.2 if "q_proj" in name or "k_proj" in name else 1.0) / parameter.shape[1] ** 0.5)


def hub_config(model_type: str, settings: dict, rope: dict) -> dict:
    """The same model as a config.json of the years before transformers 5: rope_theta on top, rope_scaling with "type", torch_dtype."""
    plain = {key: value for key, value in settings.items() if key != "rope_parameters"}
    return {
        "architectures": [HUB_ARCHITECTURES[model_type]], "attention_dropout": 0.0, **{k: v for k, v in IDS.items() if v is not None},
        "hidden_act": "silu", "initializer_range": 0.02, **HUB_EXTRAS[model_type], **plain, **rope, "model_type": model_type,
        "tie_word_embeddings": settings.get("tie_word_embeddings", False), "torch_dtype": "float32", "transformers_version": "4.37.2", "use_cache": True,
    }


def load(folder: Path, config: dict | None = None):
    """The model of a folder, in evaluation mode, float32; with another config.json when given."""
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copy(folder / "model.safetensors", temporary)
        text = (folder / "config.json").read_text() if config is None else json.dumps(config)
        (Path(temporary) / "config.json").write_text(text)
        return AutoModelForCausalLM.from_pretrained(temporary, dtype=torch.float32, attn_implementation="sdpa").eval()


def comparable(config) -> dict:
    """A config as a dict without what may differ between two spellings of one model."""
    ignored = ("transformers_version", "_name_or_path", "architectures", "max_window_layers", "attn_implementation", "pretraining_tp")
    fields = {key: value for key, value in config.to_dict().items() if key not in ignored}
    fields["rope_parameters"] = {key: value for key, value in fields["rope_parameters"].items() if key != "type"}
    return fields


def largest_difference(one, other, batches) -> float:
    """Over all logits of all sequences."""
    results = [[run(model, batch)["sequences"] for batch in batches] for model in (one, other)]
    return max((a["logits"] - b["logits"]).abs().max().item() for one_batch, other_batch in zip(*results) for a, b in zip(one_batch, other_batch))


def check_padding(model, batch) -> float:
    """A second path: the batch padded on the right and masked, as a trainer runs it. Returns the largest logprob difference."""
    longest = max(len(tokens) for tokens, _ in batch)
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in batch])
    mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens, _ in batch])
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.detach()
    alone = [sequence["logits"] for sequence in run(model, batch)["sequences"]]
    return max((logits[row, : len(one)] - one).abs().max().item() for row, one in enumerate(alone))


def write_model(index: int, name: str) -> None:
    model_type, settings, rope = MODELS[name]
    folder = ROOT / "models" / name
    shutil.rmtree(folder, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings, **IDS), dtype=torch.float32, attn_implementation="sdpa").eval()
    randomise(model, 100 + index)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    old = hub_config(model_type, settings, rope)
    (folder / "config.hub.json").write_text(json.dumps(old, indent=2) + "\n")

    batches = make_batches(settings["vocab_size"], 200 + index)
    model = load(folder)
    twin = load(folder, old)
    assert comparable(twin.config) == comparable(model.config), (comparable(twin.config), comparable(model.config))
    assert largest_difference(model, twin, batches) == 0.0
    if "dynamic" not in name:  # a dynamic table belongs to the longest row of a padded batch
        assert check_padding(model, batches[0]) < 1e-5
    check_features(name, model, folder, batches)

    records, gaps, gradients = measure(model, batches)
    if name in FULL_GRADIENTS:
        write_tensors(folder / "grads.safetensors", gradients)
    variants = {}
    for label, changes in VARIANTS.get(name, {}).items():
        config = json.loads((folder / "config.json").read_text())
        config.pop("layer_types", None)
        variant = load(folder, config | changes)
        variant.config.to_json_file(folder / f"config.{label}.json")
        assert largest_difference(model, variant, batches) > 0.05
        variants[label], variant_gaps, _ = measure(variant, batches)
        gaps = {key: max(gaps[key], variant_gaps[key]) for key in gaps}
        for batch in variants[label]:
            del batch["gradients"]
    write_json(folder / "golden.json", {"madeWith": versions(torch, transformers), "float32Gap": gaps, "batches": records, "variants": variants})
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, float32 gap {gaps}")


def check_features(name: str, model, folder: Path, batches) -> None:
    """What a fixture is about must change its numbers, or it tests nothing."""
    config = json.loads((folder / "config.json").read_text())
    if name == "mistral":
        assert largest_difference(model, load(folder, config | dict(sliding_window=None)), batches) > 0.05
    if "linear" in name or "dynamic" in name or "rope" in name:
        default = config | dict(rope_parameters=dict(rope_type="default", rope_theta=config["rope_parameters"]["rope_theta"]))
        assert largest_difference(model, load(folder, default), batches) > 0.05
        assert not torch.equal(rotary_of(model).inv_freq, torch.ones(()))


if __name__ == "__main__":
    make_deterministic()
    for index, name in enumerate(MODELS):
        write_model(index, name)
