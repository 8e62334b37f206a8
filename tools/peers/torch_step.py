"""Times one training step (forward, backward, AdamW) of eager PyTorch on the CPU in float32, random weights and tokens.

usage: torch_step.py tiny|small|qwen2.5-0.5b-lora [STEPS] [--serve] [--threads N]
tiny:  3.4M parameters, 16 x 128 tokens      small: 29.5M parameters, 8 x 256 tokens
qwen2.5-0.5b-lora: the shape of Qwen2.5-0.5B, LoRA of rank 16 on all linear layers, 1 x 256 tokens
Prints one JSON line (median of STEPS, 10 by default, after 2 more), or serves turns (turns.py).
"""
import argparse
import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from turns import measure, peer_name, serve

LLAMAS = {
    "tiny": (dict(vocab_size=512, hidden_size=256, intermediate_size=688, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4), (16, 128)),
    "small": (dict(vocab_size=4096, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=8), (8, 256)),
}
QWEN = dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=32768)


def make_model(name: str):
    """The model, ready to train, and the shape of its batch."""
    if name in LLAMAS:
        shape, batch = LLAMAS[name]
        return LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=1024)).float().train(), batch
    from peft import LoraConfig, get_peft_model

    base = Qwen2ForCausalLM(Qwen2Config(**QWEN, rope_parameters=dict(rope_type="default", rope_theta=1e6))).float()
    return get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")).train(), (1, 256)


def make_step(name: str):
    """A function that does one step on a fixed batch and answers its loss."""
    model, batch = make_model(name)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, batch)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, batch[0] * batch[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[*LLAMAS, "qwen2.5-0.5b-lora"])
    parser.add_argument("steps", nargs="?", type=int, default=10)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    step, tokens = make_step(options.model)
    if options.serve:
        serve(step, peer_name())
    else:
        measure(step, peer_name(), options.steps, 2, model=options.model, tokens=tokens, threads=options.threads, transformers=transformers.__version__)
