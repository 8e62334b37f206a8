"""TRL's preference losses by its own code, in float64, 20 DPO steps, and a reward model. Writes tests/golden/trl/preference*.json.

`DPOTrainer`, `KTOTrainer`, `CPOTrainer`, `ORPOTrainer` and `RewardTrainer` are made without their constructors and given what their
losses read. Their model has a vocabulary of two: token 0 with a given logprob, token 1 with what remains. All targets are token 0,
so every function of TRL sees exactly these logprobs, and its gradient arrives at them. A row's first token, which is never a
target, says which row it is. The 20 steps are the trainer's own, in float32.
"""
import tempfile
from collections import defaultdict
from types import SimpleNamespace

import peft
import torch
import transformers
import trl
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, KTOTrainer, RewardTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

import models as golden_models
from batches import summary
from exact import exact_copy
from fixture import ROOT, make_deterministic, numbers, versions, write_json

PAIRS, LENGTH = 5, 14
ROWS = 2 * PAIRS  # chosen 0 … PAIRS - 1, then rejected, as TRL stacks them

DPO_DEFAULTS = dict(beta=0.1, loss_types=["sigmoid"], loss_weights=[1.0], label_smoothing=0.0, ld_alpha=None, f_divergence_type="reverse_kl", use_weighting=False)
DPO_CASES = {
    "sigmoid": {},
    "sigmoid, beta 0.5": dict(beta=0.5),
    "hinge": dict(loss_types=["hinge"]),
    "hinge that binds": dict(loss_types=["hinge"], beta=1.0),
    "ipo": dict(loss_types=["ipo"], beta=0.4),
    "robust": dict(loss_types=["robust"], label_smoothing=0.2, beta=0.3),
    "sigmoid_norm": dict(loss_types=["sigmoid_norm"], beta=2.0),
    "exo_pair": dict(loss_types=["exo_pair"], label_smoothing=0.001, beta=0.3),
    "nca_pair": dict(loss_types=["nca_pair"], beta=0.3),
    "bco_pair": dict(loss_types=["bco_pair"], beta=0.3),
    "sppo_hard": dict(loss_types=["sppo_hard"], beta=0.5),
    "apo_zero": dict(loss_types=["apo_zero"], beta=0.3),
    "apo_down": dict(loss_types=["apo_down"], beta=0.3),
    "sft": dict(loss_types=["sft"]),
    "three types": dict(loss_types=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0], beta=0.2),
}
CPO_DEFAULTS = dict(beta=0.1, loss_type="sigmoid", label_smoothing=0.0, simpo_gamma=0.5, cpo_alpha=1.0, alpha=0.0)
CPO_CASES = {
    "sigmoid": {},
    "sigmoid, smoothed, without nll": dict(label_smoothing=0.1, cpo_alpha=0.0, beta=0.4),
    "hinge": dict(loss_type="hinge", beta=0.3),
    "ipo": dict(loss_type="ipo", beta=0.4),
    "simpo": dict(loss_type="simpo", beta=2.0, cpo_alpha=0.0),
    "simpo with nll": dict(loss_type="simpo", beta=2.5, simpo_gamma=1.2, cpo_alpha=0.5, label_smoothing=0.05),
}
KTO_DEFAULTS = dict(beta=0.1, loss_type="kto", desirable_weight=1.0, undesirable_weight=1.0)
MIXED = [1, 0, 0, 1, 1, 0, 1, 0, 0, 1]
KTO_CASES = {
    "mixed": (MIXED, {}),
    "weighted": (MIXED, dict(desirable_weight=1.3, undesirable_weight=0.7, beta=0.5)),
    "only desirable": ([1] * ROWS, dict(beta=0.3)),
    "only undesirable": ([0] * ROWS, dict(beta=0.3)),
    "apo_zero_unpaired": (MIXED, dict(loss_type="apo_zero_unpaired", beta=0.4)),
}
REWARD_CASES = {"plain": {}, "margins": dict(margins=True), "centred": dict(center_rewards_coefficient=0.05, margins=True)}


class FixedModel(torch.nn.Module):
    """Gives token 0 the logprobs of the row that a sequence's first token names."""

    is_gradient_checkpointing = False

    def __init__(self, tables: torch.Tensor):
        super().__init__()
        self.tables = tables

    def forward(self, input_ids, **_):
        logprobs = self.tables[input_ids[:, 0]]
        logits = torch.stack([logprobs, torch.log1p(-logprobs.exp())], -1)
        return SimpleNamespace(logits=torch.cat([logits, torch.zeros_like(logits[:, :1])], 1), aux_loss=None)


def bare(kind, **attributes):
    """A trainer that never saw its constructor."""
    trainer = kind.__new__(kind)
    identity = lambda value, **_: value
    trainer.__dict__.update(
        accelerator=SimpleNamespace(gather=identity, gather_for_metrics=identity, device=torch.device("cpu"), unwrap_model=identity),
        aux_loss_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0, _tp_size=1, is_encoder_decoder=False,
        args=SimpleNamespace(gradient_checkpointing=False, gradient_checkpointing_kwargs=None, center_rewards_coefficient=attributes.pop("center_rewards_coefficient", None)),
        **attributes,
    )
    return trainer


def make_data(generator) -> dict:
    """Logprobs of ragged pairs after prompts of several lengths, and of as many sequences for KTO's estimate; column t is about token t + 1."""
    normal = lambda: torch.randn(ROWS, LENGTH, generator=generator, dtype=torch.float64)
    prompts = torch.randint(2, 5, (PAIRS,), generator=generator).repeat(2)
    ends = prompts + torch.randint(2, LENGTH - 4, (ROWS,), generator=generator)
    columns = torch.arange(1, LENGTH + 1)
    current = -2.5 * torch.rand(ROWS, LENGTH, generator=generator, dtype=torch.float64) - 0.05
    kl_current = -2.5 * torch.rand(ROWS, LENGTH, generator=generator, dtype=torch.float64) - 0.05
    return dict(
        attention=(columns < ends[:, None]).int(), completion=((columns >= prompts[:, None]) & (columns < ends[:, None])).int(),
        current=current, reference=torch.clamp(current + 0.5 * normal(), max=-0.01),
        kl_current=kl_current, kl_reference=torch.clamp(kl_current - 0.15 + 0.3 * normal(), max=-0.01),
        scores=2 * torch.randn(ROWS, generator=generator, dtype=torch.float64), margins=torch.rand(PAIRS, generator=generator, dtype=torch.float64) * 2,
    )


def with_first(mask: torch.Tensor, first: int) -> torch.Tensor:
    return torch.cat([torch.full((len(mask), 1), first, dtype=mask.dtype), mask], 1)


def ids_of(rows: torch.Tensor) -> torch.Tensor:
    return torch.cat([rows[:, None], torch.zeros(len(rows), LENGTH, dtype=torch.long)], 1)


def result(name: str, trainer: str, options: dict, loss, gradient, metrics, **more) -> dict:
    return {"name": name, "trainer": trainer, "options": options, "loss": loss.item(), "gradient": [numbers(row) for row in gradient.reshape(ROWS, -1)], "metrics": metrics, **more}


def dpo_case(name: str, changes: dict, data: dict) -> dict:
    options = DPO_DEFAULTS | changes
    current = data["current"].clone().requires_grad_()
    model = FixedModel(current)
    trainer = bare(DPOTrainer, model=model, ref_model=FixedModel(data["reference"]), precompute_ref_logps=False, **options)
    inputs = dict(input_ids=ids_of(torch.arange(ROWS)), attention_mask=with_first(data["attention"], 1), completion_mask=with_first(data["completion"], 0))
    loss = trainer._compute_loss(model, inputs, False)
    loss.backward()
    return result(name, "dpo", options, loss, current.grad, {key: values[0] for key, values in trainer._metrics["train"].items()})


def smoothed_case(data: dict) -> dict:
    """DPOTrainer has conservative DPO only as AOT, whose sorting does nothing to a batch of one pair: so one pair at a time."""
    options = DPO_DEFAULTS | dict(beta=0.3, label_smoothing=0.15)
    current = data["current"].clone().requires_grad_()
    total = 0
    for pair in range(PAIRS):
        rows = torch.tensor([pair, PAIRS + pair])
        model = FixedModel(current)
        trainer = bare(DPOTrainer, model=model, ref_model=FixedModel(data["reference"]), precompute_ref_logps=False, **options | dict(loss_types=["aot"]))
        inputs = dict(input_ids=ids_of(rows), attention_mask=with_first(data["attention"][rows], 1), completion_mask=with_first(data["completion"][rows], 0))
        total = total + trainer._compute_loss(model, inputs, False) / PAIRS
    total.backward()
    return result("sigmoid, smoothed", "dpo", options, total, current.grad, {})


def paired_case(kind, name: str, trainer_name: str, options: dict, data: dict) -> dict:
    """CPO and ORPO, which have one collator."""
    current = data["current"].clone().requires_grad_()
    model = FixedModel(current)
    trainer = bare(kind, model=model, pad_token_id=0, padding_value=0, **options)
    labels = torch.where(with_first(data["completion"], 0) == 1, 0, -100)
    rows = {"chosen": slice(0, PAIRS), "rejected": slice(PAIRS, ROWS)}
    parts = {"input_ids": ids_of(torch.arange(ROWS)), "attention_mask": with_first(data["attention"], 1), "labels": labels}
    batch = {f"{member}_{part}": value[at] for member, at in rows.items() for part, value in parts.items()}
    loss, metrics = trainer.get_batch_loss_metrics(model, batch)
    loss.backward()
    return result(name, trainer_name, options, loss, current.grad, metrics)


def kto_case(name: str, labels: list[int], changes: dict, data: dict) -> dict:
    options = KTO_DEFAULTS | changes
    current = data["current"].clone().requires_grad_()
    model = FixedModel(torch.cat([current, data["kl_current"]]))
    reference = FixedModel(torch.cat([data["reference"], data["kl_reference"]]))
    trainer = bare(KTOTrainer, model=model, ref_model=reference, precompute_ref_logps=False, use_liger_kernel=False, calculate_KL=options["loss_type"] == "kto", **options)
    masks = dict(attention_mask=with_first(data["attention"], 1), completion_mask=with_first(data["completion"], 0))
    inputs = dict(input_ids=ids_of(torch.arange(ROWS)), label=torch.tensor(labels, dtype=torch.bool), **masks)
    if trainer.calculate_KL:
        inputs |= {"KL_input_ids": ids_of(ROWS + torch.arange(ROWS))} | {f"KL_{key}": value for key, value in masks.items()}
    loss = trainer._compute_loss(model, inputs, False)
    loss.backward()
    return result(name, "kto", options, loss, current.grad, {key: values[0] for key, values in trainer._metrics["train"].items()}, labels=labels)


def reward_case(name: str, changes: dict, data: dict) -> dict:
    options = dict(center_rewards_coefficient=None, margins=False) | changes
    scores = data["scores"].clone().requires_grad_()
    model = lambda **_: SimpleNamespace(logits=scores[:, None])
    trainer = bare(RewardTrainer, model=SimpleNamespace(training=True), center_rewards_coefficient=options["center_rewards_coefficient"])
    inputs = dict(attention_mask=data["attention"]) | (dict(margin=data["margins"]) if options["margins"] else {})
    loss = trainer.compute_loss(model, inputs)
    loss.backward()
    return result(name, "reward", options, loss, scores.grad, {key: values[0] for key, values in trainer._metrics["train"].items()})


def reward_model(name: str, seed: int) -> dict:
    """Logits of transformers' sequence classification at each sequence's last token, TRL's loss of two pairs, and its gradients."""
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(ROOT / "models" / name, num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        model.score.weight.copy_(torch.randn(model.score.weight.shape, generator=generator) * 0.3)
    model.config.pad_token_id = 0
    model = exact_copy(model).train()
    start = torch.randint(1, model.config.vocab_size, (2, 9), generator=generator)
    lengths = (13, 16, 11, 12)  # chosen, chosen, rejected, rejected
    sequences = [torch.cat([start[i % 2], torch.randint(1, model.config.vocab_size, (length - 9,), generator=generator)]) for i, length in enumerate(lengths)]
    logits = torch.cat([model(input_ids=ids[None], use_cache=False).logits for ids in sequences])
    trainer = bare(RewardTrainer, model=SimpleNamespace(training=True), center_rewards_coefficient=0.02)
    loss = trainer.compute_loss(lambda **_: SimpleNamespace(logits=logits), dict(attention_mask=torch.ones(4, 4), margin=torch.tensor([0.0, 0.5], dtype=torch.float64)))
    loss.backward()
    return {
        "model": name, "score": numbers(model.score.weight), "sequences": [numbers(ids) for ids in sequences], "margins": [0.0, 0.5], "centerRewardsCoefficient": 0.02,
        "logits": numbers(logits), "loss": loss.item(), "gradients": {key: summary(p.grad) for key, p in model.named_parameters()},
    }


STEPS = 20
RUNS = {"full": dict(learningRate=2e-4, beta=0.1, lossTypes=["sigmoid"]), "lora": dict(learningRate=5e-3, beta=0.2, lossTypes=["sigmoid", "sft"])}


class Recorder(DPOTrainer):
    """Keeps what training_step is given."""

    seen: list

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.seen.append({key: value.clone() for key, value in inputs.items()})
        return super().training_step(model, inputs, num_items_in_batch)


def preference_rows() -> list[dict]:
    """16 pairs: short and long answers, one pair that begins alike, one whose answers are the same."""
    rows = [{"prompt": f"What is {i} plus {3 * i % 7}? Answer: ", "chosen": f"{i + 3 * i % 7}", "rejected": f"about {i * 2 + 1} or so" if i % 2 else f"{i}"} for i in range(14)]
    return rows + [{"prompt": "Colour of snow? ", "chosen": "white as paper", "rejected": "white as coal"}, {"prompt": "Same: ", "chosen": "equal", "rejected": "equal"}]


def dpo_steps(name: str, run: dict) -> dict:
    folder = ROOT / "sft" / "model"
    model, tokenizer = golden_models.load(folder), AutoTokenizer.from_pretrained(folder)
    model.name_or_path = model.config._name_or_path = "sft/model"
    if name == "lora":
        model = PeftModel.from_pretrained(model, ROOT / "sft" / "lora-start", is_trainable=True)
    with tempfile.TemporaryDirectory() as output:
        options = DPOConfig(
            output_dir=output, max_steps=STEPS, per_device_train_batch_size=4, learning_rate=run["learningRate"], lr_scheduler_type="constant", max_grad_norm=1.0, weight_decay=0.0,
            optim="adamw_torch", beta=run["beta"], loss_type=run["lossTypes"], max_length=None, train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to=[],
            use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, seed=0,
        )
        reference = None if name == "lora" else golden_models.load(folder)  # else TRL would look for it by the model's name
        trainer = Recorder(model=model, ref_model=reference, args=options, train_dataset=Dataset.from_list(preference_rows()), processing_class=tokenizer)
        trainer.seen = []
        rows = [{key: list(row[f"{key}_ids"]) for key in ("prompt", "chosen", "rejected")} for row in trainer.train_dataset]
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    steps = []
    for index, inputs in enumerate(trainer.seen):
        batch = [(4 * index + i) % len(rows) for i in range(4)]
        for position, (row, member) in enumerate([(row, member) for member in ("chosen", "rejected") for row in batch]):
            tokens = rows[row]["prompt"] + rows[row][member]
            assert inputs["input_ids"][position][: len(tokens)].tolist() == tokens
            assert inputs["completion_mask"][position].nonzero().flatten().tolist() == list(range(len(rows[row]["prompt"]), len(tokens)))
        steps.append(batch)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    keys = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"]
    return {
        "name": name, "options": run, "rows": rows, "batches": steps, "losses": [entry["loss"] for entry in log], "gradNorms": [entry["grad_norm"] for entry in log],
        "metrics": {key: [entry[key] for entry in log] for key in keys},
        "finalParameters": {key.replace(".default", "").replace("base_model.model.", ""): summary(p) for key, p in trainer.model.named_parameters() if p.requires_grad and ".ref." not in key},
    }


def main() -> None:
    make_deterministic()
    data = make_data(torch.Generator().manual_seed(23))
    cases = [dpo_case(name, changes, data) for name, changes in DPO_CASES.items()] + [smoothed_case(data)]
    cases += [paired_case(CPOTrainer, name, "cpo", CPO_DEFAULTS | changes, data) for name, changes in CPO_CASES.items()]
    cases += [paired_case(ORPOTrainer, f"beta {beta}", "orpo", dict(beta=beta), data) for beta in (0.1, 1.0)]
    cases += [kto_case(name, labels, changes, data) for name, (labels, changes) in KTO_CASES.items()]
    cases += [reward_case(name, changes, data) for name, changes in REWARD_CASES.items()]
    made = {"versions": versions(torch, transformers, peft, trl)}
    as_json = {key: [numbers(row) for row in value] if value.dim() == 2 else numbers(value) for key, value in data.items()}
    write_json(ROOT / "trl" / "preference.json", made | {"pairs": PAIRS, "data": as_json, "cases": cases})
    write_json(ROOT / "trl" / "preference-models.json", made | {"rewardModels": [reward_model("llama", 31), reward_model("qwen2", 32)], "dpo": [dpo_steps(name, run) for name, run in RUNS.items()]})


main()
