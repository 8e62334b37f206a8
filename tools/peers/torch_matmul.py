"""Times the float32 matrix products of linear layers in a training step: output, input gradient and weight gradient of each.

usage: torch_matmul.py TOKENS INPUTSxOUTPUTSxCOUNT... [--serve] [--threads N] [--repeats N]
One turn does all products of all layers, COUNT times each. Prints one JSON line (flops / seconds is the rate), or serves turns (turns.py).
"""
import argparse

import torch

from turns import measure, peer_name, serve


def make_turn(tokens: int, layers: list[tuple[int, int, int]]):
    """A function that does one turn into memory allocated beforehand, and its floating-point operations."""
    products = []
    for inputs, outputs, count in layers:
        x, weight, dy = torch.rand(tokens, inputs) - 0.5, torch.rand(outputs, inputs) - 0.5, torch.rand(tokens, outputs) - 0.5
        for left, right in ((x, weight.T), (dy, weight), (dy.T, x)):
            products.append((left, right, torch.empty(left.shape[0], right.shape[1]), count))

    def turn() -> None:
        for left, right, result, count in products:
            for _ in range(count):
                torch.mm(left, right, out=result)

    return turn, sum(6 * tokens * inputs * outputs * count for inputs, outputs, count in layers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=int)
    parser.add_argument("layers", nargs="+", type=lambda text: tuple(int(part) for part in text.split("x")), metavar="INPUTSxOUTPUTSxCOUNT")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    turn, flops = make_turn(options.tokens, options.layers)
    if options.serve:
        serve(turn, peer_name())
    else:
        measure(turn, peer_name(), options.repeats, 1, flops=flops, threads=options.threads)
