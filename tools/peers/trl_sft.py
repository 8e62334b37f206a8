"""Times supervised fine-tuning with TRL from end to end: model folder and JSONL file in, trained model out. CPU, float32.

usage: trl_sft.py MODEL_DIR ROWS_JSONL STEPS [--rows-per-step N] [--max-length N] [--learning-rate X] [--lora-rank R] [--serve] [--threads N]
ROWS_JSONL: {"prompt", "completion"}, {"messages"} or {"text"} per line, read in file order. Full fine-tuning unless --lora-rank.
Prints one JSON line: `seconds` from opening the files to the last step, without imports, `trainSeconds` of it in the
loop, `stepSeconds` (median after the first), `totalSeconds` of the process so far; or serves turns (turns.py), each a whole training.
"""
import time

STARTED = time.perf_counter()

import argparse
import json
import os
import statistics
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import datasets
import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

from turns import peak_bytes, peer_name, serve


class Clock(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, *arguments, **named) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *arguments, **named) -> None:
        self.steps.append(time.perf_counter() - self.began)


def train(options) -> dict:
    """Everything a user waits for after the imports."""
    began = time.perf_counter()
    with open(options.rows, encoding="utf-8") as file:
        rows = Dataset.from_list([json.loads(line) for line in file if line.strip()])
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    adapter = None
    if options.lora_rank:
        from peft import LoraConfig

        adapter = LoraConfig(r=options.lora_rank, lora_alpha=2 * options.lora_rank, target_modules="all-linear", task_type="CAUSAL_LM")
    clock = Clock()
    with tempfile.TemporaryDirectory() as output:
        config = SFTConfig(
            output_dir=output, max_steps=options.steps, per_device_train_batch_size=options.rows_per_step, learning_rate=options.learning_rate,
            max_length=options.max_length, train_sampling_strategy="sequential", logging_steps=1, save_strategy="no", report_to=[],
            use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        )
        trainer = SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=adapter, callbacks=[clock])
        trainer.remove_callback(transformers.PrinterCallback)
        loop = time.perf_counter()
        trainer.train()
        ended = time.perf_counter()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tokens = next(entry["num_tokens"] for entry in reversed(trainer.state.log_history) if "num_tokens" in entry)
    return {
        "seconds": ended - began, "trainSeconds": ended - loop, "stepSeconds": statistics.median(clock.steps[1:] or clock.steps), "totalSeconds": ended - STARTED,
        "tokens": int(tokens), "firstLoss": losses[0], "lastLoss": losses[-1],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows")
    parser.add_argument("steps", type=int)
    parser.add_argument("--rows-per-step", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--lora-rank", type=int, default=0)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    name = peer_name(trl, transformers)
    if options.serve:
        serve(lambda: train(options), name)
    else:
        print(json.dumps({"peer": name, "steps": options.steps, **train(options), "peakBytes": peak_bytes(), "threads": options.threads}))
