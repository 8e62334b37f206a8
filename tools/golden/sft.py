"""20 steps of TRL's SFTTrainer on a tiny byte-level Llama: full, with gradient accumulation, and LoRA. Writes tests/golden/sft/.

Every run reads the rows in file order, over and over. What reached `training_step` (token ids, labels) is compared
with the rows, so the fixture needs only the rows and which of them each step read. A float64 loop of our own over
the same batches must give TRL's losses.
"""
import json
import shutil
import tempfile
import warnings

import datasets
import peft
import torch
import transformers
import trl
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup
from trl import SFTConfig, SFTTrainer

import lora
import models as golden_models
from batches import summary
from exact import exact_copy
from fixture import ROOT, make_deterministic, versions, write_json

FOLDER = ROOT / "sft"
STEPS, WARMUP, MAX_LENGTH = 20, 3, 40
# `weightDecay` is TRL's default. Were it positive, transformers would spare norms and biases.
RUNS = {
    "full": dict(learningRate=5e-3, gradClipNorm=1.0, schedule="cosine", rowsPerBatch=4, accumulation=1),
    "full-accumulation": dict(learningRate=5e-3, gradClipNorm=1.5, schedule="linear", rowsPerBatch=4, accumulation=2),
    "lora": dict(learningRate=2e-2, gradClipNorm=0.4, schedule="linear", rowsPerBatch=4, accumulation=1, adapter=dict(r=4, lora_alpha=8, target_modules="all-linear")),
}
SCHEDULES = {"cosine": get_cosine_schedule_with_warmup, "linear": get_linear_schedule_with_warmup}
ANIMALS = ("cat", "dog", "heron", "ox", "wren", "salamander", "bee", "horse")


def make_rows() -> list[dict]:
    """48 sums, counts and echoes of 10 to 60 bytes: completions from one byte up, two rows with bytes above 127, one cut by max_length."""
    rows = []
    for i in range(16):
        a, b = (7 * i + 3) % 20, (5 * i + 11) % 30
        animal = ANIMALS[i % len(ANIMALS)]
        rows.append({"prompt": f"{a}+{b}=", "completion": f"{a + b}"})
        rows.append({"prompt": f"Say {animal} {i % 3 + 1}x:", "completion": " " + " ".join([animal] * (i % 3 + 1))})
        rows.append({"prompt": f"Last letter of {animal}? ", "completion": animal[-1]})
    rows[5] = {"prompt": "caf\u00e9: ", "completion": "na\u00efve \u2713"}
    rows[14] = {"prompt": "Count to twelve: ", "completion": "1 2 3 4 5 6 7 8 9 10 11 12"}
    return rows


def make_model():
    """Writes the model and its tokenizer: ids 0 to 255 are bytes in GPT-2's alphabet, sorted; then bos, eos, pad; id 259 is unused."""
    config = LlamaConfig(vocab_size=260, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=256, eos_token_id=257, pad_token_id=258, rope_parameters=dict(rope_type="default", rope_theta=10000.0))
    model = LlamaForCausalLM(config).float()
    golden_models.randomise(model, 500)
    with torch.no_grad():
        model.lm_head.weight.mul_(0.2)  # start near the uniform distribution, as a fresh model does
    model.save_pretrained(FOLDER / "model")
    (FOLDER / "model" / "generation_config.json").unlink(missing_ok=True)
    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))} | {"<s>": 256, "</s>": 257, "<pad>": 258}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>").save_pretrained(FOLDER / "model")


def encode(tokenizer, row) -> dict:
    """A row as TRL 1.13 prepares it: prompt + completion + eos, no bos, cut on the right, labels on the completion only."""
    prompt = tokenizer(row["prompt"])["input_ids"]
    tokens = tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token)["input_ids"]
    assert tokens[: len(prompt)] == prompt
    return {"tokens": tokens[:MAX_LENGTH], "promptLength": len(prompt)}


def prepare(run, name):
    """The trainable model of a run; LoRA's starting adapter (A random, B zero) is part of the fixture."""
    model = golden_models.load(FOLDER / "model")
    if "adapter" not in run:
        return model
    model.name_or_path = model.config._name_or_path = "sft/model"
    torch.manual_seed(6)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **run["adapter"]))
    model.save_pretrained(FOLDER / f"{name}-start")
    lora.tidy(FOLDER / f"{name}-start")
    return PeftModel.from_pretrained(golden_models.load(FOLDER / "model"), FOLDER / f"{name}-start", is_trainable=True)


class Recorder(SFTTrainer):
    """Keeps what training_step is given."""

    seen: list

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.seen.append(({key: value.clone() for key, value in inputs.items()}, int(num_items_in_batch)))
        return super().training_step(model, inputs, num_items_in_batch)


def train(model, tokenizer, rows, run):
    """TRL's own run: its log, one entry per step, and the batches it saw."""
    with tempfile.TemporaryDirectory() as output:
        options = SFTConfig(
            output_dir=output, max_steps=STEPS, per_device_train_batch_size=run["rowsPerBatch"], gradient_accumulation_steps=run["accumulation"],
            learning_rate=run["learningRate"], lr_scheduler_type=run["schedule"], warmup_steps=WARMUP, max_grad_norm=run["gradClipNorm"], weight_decay=0.0, optim="adamw_torch",
            max_length=MAX_LENGTH, completion_only_loss=True, train_sampling_strategy="sequential", dataset_num_proc=None,
            logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True, seed=0,
        )
        trainer = Recorder(model=model, args=options, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
        trainer.seen = []
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], trainer.seen


def expected_rows(run, count: int) -> list[list[list[int]]]:
    """Row numbers per step and micro-batch. An epoch is a whole number of steps here, so order never depends on TRL's remainder rules."""
    per_step = run["rowsPerBatch"] * run["accumulation"]
    assert count % per_step == 0
    return [[[(step * per_step + micro * run["rowsPerBatch"] + i) % count for i in range(run["rowsPerBatch"])] for micro in range(run["accumulation"])] for step in range(STEPS)]


def check_batches(seen, steps, encoded, pad: int) -> list[int]:
    """The batches TRL saw are the rows we think; returns how many tokens each step's loss is divided by."""
    micros, counts = [micro for step in steps for micro in step], []
    assert len(micros) == len(seen)
    for micro, (inputs, _) in zip(micros, seen, strict=True):
        longest = max(len(encoded[row]["tokens"]) for row in micro)
        for position, row in enumerate(micro):
            tokens, start = encoded[row]["tokens"], encoded[row]["promptLength"]
            gap = longest - len(tokens)
            assert inputs["input_ids"][position].tolist() == tokens + [pad] * gap
            assert inputs["labels"][position].tolist() == [-100] * start + tokens[start:] + [-100] * gap
            assert inputs["attention_mask"][position].tolist() == [1] * len(tokens) + [0] * gap
    per_step = len(steps[0])
    for index, step in enumerate(steps):
        count = sum(len(encoded[row]["tokens"]) - encoded[row]["promptLength"] for micro in step for row in micro)
        assert {items for _, items in seen[index * per_step : (index + 1) * per_step]} == {count}
        counts.append(count)
    return counts


def train_exactly(model, encoded, steps, counts, run) -> list[float]:
    """The second path: each row alone, in float64. Loss = sum of -logprob over completion tokens of all micro-batches / their number."""
    model = exact_copy(model).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=run["learningRate"], betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = SCHEDULES[run["schedule"]](optimizer, WARMUP, STEPS)
    losses = []
    for step, count in zip(steps, counts, strict=True):
        optimizer.zero_grad()
        total = 0.0
        for row in (row for micro in step for row in micro):
            ids, start = torch.tensor([encoded[row]["tokens"]]), encoded[row]["promptLength"]
            logprobs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0], -1)
            loss = -logprobs[torch.arange(start - 1, ids.shape[1] - 1), ids[0, start:]].sum() / count
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(trained, run["gradClipNorm"])
        optimizer.step()
        schedule.step()
        losses.append(total)
    return losses


def write_run(name: str, rows, encoded, tokenizer) -> None:
    run = RUNS[name]
    steps = expected_rows(run, len(rows))
    model = prepare(run, name)
    start = exact_copy(model)
    log, seen = train(model, tokenizer, rows, run)
    counts = check_batches(seen, steps, encoded, tokenizer.pad_token_id)
    losses = [entry["loss"] for entry in log]
    gap = max(abs(a - b) for a, b in zip(losses, train_exactly(start, encoded, steps, counts, run), strict=True))
    assert gap < 1e-5, f"TRL and the float64 loop differ by {gap}"
    norms = [entry["grad_norm"] for entry in log]
    fallen = sum(losses[-6:]) / sum(losses[:6])
    assert fallen < 0.98 and max(norms) > run["gradClipNorm"], (losses, norms)
    write_json(FOLDER / f"{name}.json", {
        "madeWith": versions(torch, transformers, peft, trl, datasets),
        "options": {key: value for key, value in run.items() if key != "adapter"} | dict(steps=STEPS, warmupSteps=WARMUP, beta1=0.9, beta2=0.999, eps=1e-8, weightDecay=0.0, maxLength=MAX_LENGTH),
        "adapter": f"{name}-start" if "adapter" in run else None,
        "rows": steps, "supervisedTokens": counts, "losses": losses,
        "gradNorms": norms, "learningRates": [entry["learning_rate"] for entry in log],
        "meanTokenAccuracy": [entry["mean_token_accuracy"] for entry in log], "entropy": [entry["entropy"] for entry in log],
        "float64Gap": gap,
        "finalParameters": {lora.saved_name(key): summary(p) for key, p in model.named_parameters() if p.requires_grad},
    })
    print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}, float64 loop within {gap:.2g}, norms {min(norms):.3g} to {max(norms):.3g}")


if __name__ == "__main__":
    make_deterministic()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    make_model()
    rows = make_rows()
    (FOLDER / "rows.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(FOLDER / "model")
    encoded = [encode(tokenizer, row) for row in rows]
    write_json(FOLDER / "rows.tokens.json", {"madeWith": versions(transformers, trl), "maxLength": MAX_LENGTH, "rows": encoded})
    for name in RUNS:
        write_run(name, rows, encoded, tokenizer)
