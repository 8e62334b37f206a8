"""Times a GRPO step of TRL on a local model, CPU, float32: rollouts, rewards and one optimizer step, turn by turn (turns.py).

usage: trl_grpo.py MODEL_DIR [--prompts 8] [--group-size 8] [--prompt-tokens 128] [--completion-tokens 64] [--threads N]
Every token is one byte of text, completions run to their full length, beta is 0. A turn lasts from TRL's on_step_begin
to its on_step_end: the trainer waits between two steps until it is asked for the next.
"""
import argparse
import json
import os
import random
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import datasets
import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from turns import peak_bytes, peer_name

MOST_STEPS = 200


class Turns(TrainerCallback):
    """Lets a step begin when a line says so, and answers how long it took."""

    def on_step_begin(self, *arguments, **named) -> None:
        if sys.stdin.readline().strip() != "step":
            sys.stdout.flush()
            os._exit(0)
        self.began = time.perf_counter()

    def on_step_end(self, *arguments, **named) -> None:
        seconds = time.perf_counter() - self.began
        print(json.dumps({"seconds": seconds, "peakBytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--completion-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    random.seed(0)
    prompts = ["".join(random.choice("abcdefgh ") for _ in range(options.prompt_tokens)) for _ in range(options.prompts * MOST_STEPS)]
    with tempfile.TemporaryDirectory() as output:
        config = GRPOConfig(
            output_dir=output, max_steps=MOST_STEPS, per_device_train_batch_size=options.prompts * options.group_size,
            num_generations=options.group_size, max_completion_length=options.completion_tokens, beta=0.0, learning_rate=1e-5,
            generation_kwargs={"min_new_tokens": options.completion_tokens}, logging_steps=1, save_strategy="no", report_to=[],
            use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
            reward_funcs=lambda completions, **named: [completion.count("a") / 10 for completion in completions],
            args=config, train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in prompts]),
            processing_class=AutoTokenizer.from_pretrained(options.model), callbacks=[Turns()],
        )
        trainer.remove_callback(transformers.PrinterCallback)
        print(json.dumps({"peer": peer_name(trl, transformers)}), flush=True)
        trainer.train()
