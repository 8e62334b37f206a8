"""TRL's policy losses by its own code, from rewards to gradients, in float64. Writes tests/golden/trl/losses.json and model.json.

`GRPOTrainer` and `RLOOTrainer` are made without their constructors, and given what `_compute_loss` reads. Advantages,
importance ratios and truncation are code in the middle of a long method, so its lines are found by what stands around
them and executed. In losses.json the logprobs are fixed numbers; in model.json they are those of a tiny model.
"""
import inspect
import math
import textwrap
from collections import defaultdict
from types import SimpleNamespace

import torch
import trl
from trl.trainer import grpo_trainer, rloo_trainer

from batches import summary
from exact import exact_copy
from fixture import ROOT, make_deterministic, numbers, versions, write_json
from models import load

PROMPTS, GROUP, LENGTH = 3, 4, 9
ROWS = PROMPTS * GROUP

# What TRL's config says where a case says nothing.
DEFAULTS = dict(
    loss_type="dapo", importance_sampling_level="token", epsilon=0.2, epsilon_high=None, delta=None, beta=0.0,
    use_bias_correction_kl=True, entropy_coef=0.0, scale_rewards="group", multi_objective_aggregation="sum_then_normalize",
    vllm_importance_sampling_correction=False, vllm_importance_sampling_mode="sequence_mask", vllm_importance_sampling_clip_max=3.0,
    vllm_importance_sampling_clip_min=None, mask_truncated_completions=False, max_completion_length=LENGTH, steps_per_generation=1,
    normalize_advantages=False, temperature=1.0,
)

CASES = {
    "grpo": dict(loss_type="grpo"),
    "grpo without scaling": dict(loss_type="grpo", scale_rewards="none"),
    "grpo scaled by the batch": dict(loss_type="grpo", scale_rewards="batch"),
    "grpo with kl": dict(loss_type="grpo", beta=0.04),
    "grpo with kl, uncorrected": dict(loss_type="grpo", beta=0.04, use_bias_correction_kl=False),
    "grpo with entropy": dict(loss_type="grpo", entropy_coef=0.01),
    "grpo without truncated completions": dict(loss_type="grpo", mask_truncated_completions=True),
    "grpo by component": dict(loss_type="grpo", multi_objective_aggregation="normalize_then_sum"),
    "bnpo": dict(loss_type="bnpo"),
    "bnpo in three steps": dict(loss_type="bnpo", steps_per_generation=3),
    "dr_grpo": dict(loss_type="dr_grpo", scale_rewards="none"),
    "dr_grpo, scaled": dict(loss_type="dr_grpo", beta=0.1),
    "dapo": dict(epsilon_high=0.28),
    "dapo, two-sided": dict(epsilon_high=0.28, delta=1.5),
    "dapo in three steps": dict(steps_per_generation=3, epsilon_high=0.28),
    "dapo without truncated completions": dict(mask_truncated_completions=True, entropy_coef=0.02, beta=0.02),
    "dapo, everything": dict(epsilon_high=0.28, delta=1.5, beta=0.04, entropy_coef=0.01, vllm_importance_sampling_correction=True),
    **{f"dapo, {mode}": dict(vllm_importance_sampling_correction=True, vllm_importance_sampling_mode=mode, beta=0.04,
                             vllm_importance_sampling_clip_max=1.2, vllm_importance_sampling_clip_min=0.8)
       for mode in ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")},
    "cispo": dict(loss_type="cispo", epsilon_high=1.2),
    "cispo, far bound": dict(loss_type="cispo", epsilon_high=5.0, beta=0.04),
    "gspo": dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=0.05, epsilon_high=0.1),
    "gspo with kl": dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=3e-4, epsilon_high=4e-4, beta=0.04),
    "rloo": dict(loss_type="rloo", beta=0.05),
    "rloo without kl": dict(loss_type="rloo", beta=0.0, epsilon=0.5),
    "rloo, normalised": dict(loss_type="rloo", beta=0.05, normalize_advantages=True),
}

MODEL_CASES = {
    "grpo with kl and entropy": dict(loss_type="grpo", beta=0.04, entropy_coef=0.05),
    "dapo, two-sided": dict(epsilon_high=0.28, delta=1.5),
    "cispo": dict(loss_type="cispo", epsilon_high=1.2),
    "gspo": dict(loss_type="grpo", importance_sampling_level="sequence", epsilon=0.05, epsilon_high=0.1),
    "grpo at temperature 0.7": dict(loss_type="grpo", temperature=0.7, entropy_coef=0.05),
    "rloo": dict(loss_type="rloo", beta=0.0, epsilon=0.5),
}


def lines_between(method, first: str, last: str) -> str:
    """The source of a method from the line that holds `first` to the one before `last`."""
    lines = inspect.getsource(method).splitlines()
    start = next(i for i, line in enumerate(lines) if first in line)
    end = next(i for i, line in enumerate(lines) if i > start and last in line)
    return textwrap.dedent("\n".join(lines[start:end]))


GRPO_ADVANTAGES = lines_between(grpo_trainer.GRPOTrainer._generate_and_score_completions, "unscorable_mask = ", "# Slice to keep only")
RLOO_ADVANTAGES = lines_between(rloo_trainer.RLOOTrainer._generate_and_score_completions, "unscorable_mask = ", "is_std_zero")
IMPORTANCE_RATIO = lines_between(grpo_trainer.GRPOTrainer._generate_and_score_completions, "if self.use_vllm and self.vllm_importance_sampling_correction:", "# Compute the per-token log probabilities for the reference")


def trainer_of(options: dict):
    """A trainer that never saw its constructor."""
    kind = rloo_trainer.RLOOTrainer if options["loss_type"] == "rloo" else grpo_trainer.GRPOTrainer
    trainer = kind.__new__(kind)
    identity = lambda value, **_: value
    trainer.__dict__.update(
        {key: options[key] for key in options if key not in ("epsilon", "epsilon_high", "delta", "use_bias_correction_kl")},
        args=SimpleNamespace(delta=options["delta"], use_bias_correction_kl=options["use_bias_correction_kl"], steps_per_generation=options["steps_per_generation"], report_to=[]),
        epsilon_low=options["epsilon"], epsilon_high=options["epsilon"] if options["epsilon_high"] is None else options["epsilon_high"],
        use_vllm=options["vllm_importance_sampling_correction"], off_policy_mask_threshold=None, top_entropy_quantile=1.0, aux_loss_enabled=False,
        _entropy_bonus_enabled=options["entropy_coef"] != 0, use_adaptive_entropy=False, current_gradient_accumulation_steps=1,
        accelerator=SimpleNamespace(gather=identity, reduce=identity, num_processes=1, sync_gradients=True, is_main_process=False),
        model=SimpleNamespace(training=True), state=SimpleNamespace(global_step=0), _metrics=defaultdict(lambda: defaultdict(list)), reward_clip_range=None, model_kwarg_keys={"logits_to_keep"},
    )
    return trainer


def make_data(generator) -> dict:
    """Logprobs of ragged completions with forced tokens inside, and rewards of two functions; one group has no spread."""
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    lengths = torch.randint(3, LENGTH + 1, (ROWS,), generator=generator)
    completion_mask = (torch.arange(LENGTH) < lengths[:, None]).int()
    tool_mask = (torch.rand(ROWS, LENGTH, generator=generator) < 0.8).int()
    tool_mask[:, 0] = 1
    current = -2 * torch.rand(ROWS, LENGTH, generator=generator, dtype=torch.float64) - 0.1
    old = current + 0.25 * normal(ROWS, LENGTH)
    rewards = torch.stack([(torch.rand(ROWS, generator=generator) < 0.5).double(), torch.rand(ROWS, generator=generator, dtype=torch.float64)], 1)
    rewards[-GROUP:] = torch.tensor([1.0, 0.25])
    return dict(
        completion_mask=completion_mask, tool_mask=tool_mask, current=current, old=old, sampling=old + 0.15 * normal(ROWS, LENGTH),
        reference=current + 0.3 * normal(ROWS, LENGTH), entropies=torch.rand(ROWS, LENGTH, generator=generator, dtype=torch.float64) * 2,
        rewards=rewards, reward_weights=torch.tensor([1.0, 0.5], dtype=torch.float64), is_truncated=torch.rand(ROWS, generator=generator) < 0.3,
    )


def inputs_of(trainer, options: dict, data: dict) -> tuple[dict, torch.Tensor]:
    """What `_generate_and_score_completions` would hand to `_compute_loss`, and the completion mask."""
    completion_mask, tool_mask = data["completion_mask"], data["tool_mask"]
    if options["loss_type"] == "rloo":  # it knows no tool mask; its completion mask then says what is trained
        completion_mask, tool_mask = completion_mask * tool_mask, None
    if options["mask_truncated_completions"]:
        keep = (~data["is_truncated"]).unsqueeze(1).int()
        completion_mask, tool_mask = completion_mask * keep, tool_mask * keep
    trainer.reward_weights = data["reward_weights"]
    old, reference = data["old"], data["reference"]
    scope = dict(
        self=trainer, torch=torch, math=math, rewards_per_func=data["rewards"].clone(), device="cpu", num_generations=GROUP, completion_mask=completion_mask,
        tool_mask=tool_mask, nanstd=grpo_trainer.nanstd, old_per_token_logps=old, ref_per_token_logps=reference, sampling_per_token_logps=data["sampling"],
        gather=lambda value: value,
    )
    trainer.reward_funcs = [None, None]
    exec(RLOO_ADVANTAGES if options["loss_type"] == "rloo" else GRPO_ADVANTAGES, scope)
    inputs = dict(completion_mask=completion_mask, advantages=scope["advantages"], old_per_token_logps=old, ref_per_token_logps=reference)
    if options["loss_type"] == "rloo":
        return inputs | dict(old_logps=(old * completion_mask).sum(1)), completion_mask
    if trainer.use_vllm:
        exec(IMPORTANCE_RATIO, scope)
        inputs["importance_sampling_ratio"] = scope["vllm_importance_sampling_ratio"]
    return inputs | dict(tool_mask=tool_mask, num_items_in_batch=(completion_mask * tool_mask).sum()), completion_mask * tool_mask


def per_step(inputs: dict, rows: slice) -> dict:
    return {key: value[rows] if isinstance(value, torch.Tensor) and value.dim() > 0 else value for key, value in inputs.items()}


def fixed_case(name: str, changes: dict, data: dict) -> dict:
    options = DEFAULTS | changes
    trainer = trainer_of(options)
    inputs, mask = inputs_of(trainer, options, data)
    size = ROWS // options["steps_per_generation"]
    steps = []
    for step in range(options["steps_per_generation"]):
        rows = slice(step * size, (step + 1) * size)
        current = data["current"][rows].clone().requires_grad_()
        entropies = data["entropies"][rows].clone().requires_grad_()
        trainer._get_per_token_logps_and_entropies = lambda *_, **__: (current, entropies, None)
        ids = torch.zeros(size, LENGTH, dtype=torch.long)
        loss = trainer._compute_loss(None, dict(prompt_ids=ids[:, :1], prompt_mask=ids[:, :1], completion_ids=ids) | per_step(inputs, rows))
        loss.backward()
        silent = torch.zeros_like(entropies)
        d_entropy = silent if entropies.grad is None else entropies.grad
        assert current.grad[mask[rows] == 0].abs().sum() == 0, f"{name}: masked tokens have a gradient"
        steps.append({"loss": loss.item(), "gradient": [numbers(row) for row in current.grad], "entropyGradient": [numbers(row) for row in d_entropy]})
    metrics = {key: values[0] for key, values in trainer._metrics["train"].items()} if len(steps) == 1 else {}
    return {"name": name, "options": options, "advantages": numbers(inputs["advantages"]), "steps": steps, "metrics": metrics}


def model_case(name: str, changes: dict, model, ids: torch.Tensor, data: dict) -> dict:
    """Through a model: logprobs and entropies are TRL's own, from the logits."""
    options = DEFAULTS | changes
    trainer = trainer_of(options)
    prompt, completion = ids[:, :5], ids[:, 5:]
    base = dict(prompt_ids=prompt, prompt_mask=torch.ones_like(prompt), completion_ids=completion)
    if options["loss_type"] == "rloo":  # its completion mask is the attention's too, so it can hide no forced token
        data = data | dict(tool_mask=torch.ones_like(data["tool_mask"]))
    logprobs, _, _ = trainer._get_per_token_logps_and_entropies(model, ids, torch.cat([base["prompt_mask"], data["completion_mask"]], 1), LENGTH)
    data = data | dict(old=logprobs.detach() + (data["old"] - data["current"]), reference=logprobs.detach() + (data["reference"] - data["current"]))
    inputs, _ = inputs_of(trainer, options, data)
    model.zero_grad(set_to_none=True)
    loss = trainer._compute_loss(model, base | inputs)
    loss.backward()
    return {
        "name": name, "options": options, "old": [numbers(row) for row in data["old"]], "reference": [numbers(row) for row in data["reference"]],
        "loss": loss.item(), "gradients": {key: summary(p.grad) for key, p in model.named_parameters()},
        "metrics": {key: values[0] for key, values in trainer._metrics["train"].items()},
    }


def as_json(data: dict) -> dict:
    rows = lambda tensor: [numbers(row) for row in tensor]
    return {key: (rows(value) if value.dim() == 2 else numbers(value.int() if value.dtype == torch.bool else value)) for key, value in data.items()}


def main() -> None:
    make_deterministic()
    generator = torch.Generator().manual_seed(11)
    data = make_data(generator)
    common = {"versions": versions(torch, trl), "prompts": PROMPTS, "group": GROUP, "data": as_json(data)}
    cases = [fixed_case(name, changes, data) for name, changes in CASES.items()]
    write_json(ROOT / "trl" / "losses.json", common | {"cases": cases})
    model = exact_copy(load(ROOT / "models" / "llama"))
    ids = torch.randint(0, model.config.vocab_size, (ROWS, 5 + LENGTH), generator=generator)
    ids[:, :5] = ids[::GROUP, :5].repeat_interleave(GROUP, 0)  # a group has one prompt
    through = [model_case(name, changes, model, ids, data) for name, changes in MODEL_CASES.items()]
    write_json(ROOT / "trl" / "model.json", common | {"model": "llama", "ids": [numbers(row) for row in ids], "cases": through})


main()
