"""Two fixed batches of token sequences with loss weights, and what a model makes of them."""
import torch

from exact import exact_copy, reset_rotary, rotary_of
from fixture import numbers

LENGTHS = ((7, 12, 19), (5, 16))


def make_batches(vocab_size: int, seed: int) -> list[list[tuple[list[int], list[float]]]]:
    """Per batch and sequence: token ids and one weight per predicted token, a quarter of them 0; batch 1 also has negative ones."""
    generator = torch.Generator().manual_seed(seed)
    batches = []
    for index, lengths in enumerate(LENGTHS):
        batch = []
        for length in lengths:
            tokens = torch.randint(0, vocab_size, (length,), generator=generator)
            tokens[length // 2] = tokens[0]  # a repeated token: the embedding's gradient must add up
            weights = 0.2 + 1.3 * torch.rand(length - 1, generator=generator)
            if index == 1:
                weights = torch.where(torch.rand(length - 1, generator=generator) < 0.3, -weights, weights)
            weights = torch.where(torch.rand(length - 1, generator=generator) < 0.25, torch.zeros(()), weights)
            batch.append((tokens.tolist(), weights.tolist()))
        batches.append(batch)
    return batches


def run(model, batch) -> dict:
    """Each sequence alone, without padding; loss is the plain sum of -weight x logprob; gradients accumulate."""
    model.zero_grad(set_to_none=True)
    sequences, total = [], torch.zeros((), dtype=next(model.parameters()).dtype)
    for tokens, weights in batch:
        reset_rotary(model)
        ids = torch.tensor([tokens])
        logits = model(input_ids=ids, use_cache=False).logits[0]
        logprobs = torch.log_softmax(logits, -1)[torch.arange(len(tokens) - 1), ids[0, 1:]]
        loss = -(torch.tensor(weights, dtype=logprobs.dtype) * logprobs).sum()
        loss.backward()
        total = total + loss.detach()
        rotary = rotary_of(model)
        sequences.append({"logits": logits.detach(), "logprobs": logprobs.detach(), "inverseFrequencies": rotary.inv_freq.clone(), "rotaryScale": float(rotary.attention_scaling)})
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return {"sequences": sequences, "loss": total, "gradients": gradients}


def measure(model, batches, rename=lambda name: name) -> tuple[list[dict], dict, dict[str, torch.Tensor]]:
    """The float64 values of every batch as JSON, their distance from a plain float32 run, and batch 0's full gradients."""
    twin = exact_copy(model)
    records, first, gaps = [], {}, {"logits": 0.0, "logprobs": 0.0, "loss": 0.0, "gradients": 0.0}
    for index, batch in enumerate(batches):
        truth, plain = run(twin, batch), run(model, batch)
        compare(truth, plain, gaps)
        gradients = {rename(name): gradient for name, gradient in truth["gradients"].items()}
        if index == 0:
            first = gradients
        records.append(record(batch, truth, gradients))
    check_gaps(gaps)
    return records, gaps, first


def record(batch, truth, gradients) -> dict:
    """One batch as JSON: full logits at two positions of each sequence, all logprobs, a summary of each gradient."""
    sequences = []
    for (tokens, weights), result in zip(batch, truth["sequences"], strict=True):
        positions = [len(tokens) // 2, len(tokens) - 1]
        sequences.append({
            "tokens": tokens, "weights": weights, "logprobs": numbers(result["logprobs"]),
            "logits": {"positions": positions, "values": [numbers(result["logits"][p]) for p in positions]},
            "rotary": {"inverseFrequencies": numbers(result["inverseFrequencies"]), "scale": result["rotaryScale"]},
        })
    return {"sequences": sequences, "loss": truth["loss"].item(), "gradients": {name: summary(g) for name, g in gradients.items()}}


def summary(tensor: torch.Tensor, count: int = 4) -> dict:
    """What identifies a tensor in a few numbers: norm, projection (the sum of x[i] cos(i)) and `count` evenly spaced elements: those at (2i + 1) size // (2 count), row-major."""
    flat = tensor.detach().double().reshape(-1)
    projection = (flat * torch.arange(flat.numel(), dtype=torch.float64).cos()).sum().item()
    indices = [(2 * i + 1) * flat.numel() // (2 * count) for i in range(count)]
    return {"shape": list(tensor.shape), "norm": flat.norm().item(), "projection": projection, "values": numbers(flat[indices])}


def compare(truth, plain, gaps) -> None:
    """Widens `gaps` by the largest difference: absolute for logits, logprobs and loss, relative to the tensor's norm for gradients."""
    for exact, rounded in zip(truth["sequences"], plain["sequences"], strict=True):
        for key in ("logits", "logprobs"):
            gaps[key] = max(gaps[key], (exact[key] - rounded[key].double()).abs().max().item())
    gaps["loss"] = max(gaps["loss"], (truth["loss"] - plain["loss"].double()).abs().item())
    for name, exact in truth["gradients"].items():
        difference = (exact - plain["gradients"][name].double()).norm() / exact.norm()
        gaps["gradients"] = max(gaps["gradients"], difference.item())


def check_gaps(gaps) -> None:
    """float32 and float64 must agree, or one of the two paths is wrong."""
    limits = {"logits": 1e-5, "logprobs": 5e-6, "loss": 5e-5, "gradients": 1e-5}
    for key, limit in limits.items():
        assert gaps[key] < limit, f"float32 and float64 disagree: {key} differ by {gaps[key]}, expected < {limit}"
