"""Times transformers' generate with its cache of keys and values on the CPU in float32: random weights and prompts.

usage: hf_generate.py tiny [--prompts 16] [--prompt-tokens 64] [--new-tokens 64] [STEPS] [--serve] [--threads N]
Sampling at temperature 1, no end of sequence before NEW tokens. Prints one JSON line (median of STEPS, 10 by default, after
2 more), or serves turns (turns.py).
"""
import argparse
import os

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

import torch
import transformers

from torch_step import LLAMAS, make_model
from turns import measure, peer_name, serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=list(LLAMAS))
    parser.add_argument("steps", nargs="?", type=int, default=10)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = make_model(options.model)[0].eval()
    ids = torch.randint(0, 256, (options.prompts, options.prompt_tokens))

    def generate() -> None:
        with torch.no_grad():
            new = options.new_tokens
            model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=True, top_k=0, pad_token_id=258, eos_token_id=257)

    name = peer_name(transformers)
    if options.serve:
        serve(generate, name)
    else:
        measure(generate, name, options.steps, 2, model=options.model, tokens=options.prompts * options.new_tokens, threads=options.threads)
