"""Tinker's per-token losses on fixed vectors by torch autograd in float64. Writes tests/golden/losses.json.

All are plain sums over tokens. lp: logprobs under the policy being trained, q: under the policy that sampled,
r = exp(lp - q), A: advantages, w: weights.
"""
import torch

from fixture import ROOT, make_deterministic, numbers, versions, write_json

TOKENS = 24


def cross_entropy(lp, q, A, w, config):
    return -(lp * w).sum()


def importance_sampling(lp, q, A, w, config):
    return -(torch.exp(lp - q) * A).sum()


def ppo(lp, q, A, w, config):
    ratio = torch.exp(lp - q)
    clipped = torch.clamp(ratio, config["clip_low_threshold"], config["clip_high_threshold"])
    return -torch.min(ratio * A, clipped * A).sum()


def cispo(lp, q, A, w, config):
    ratio = torch.exp(lp - q)
    return -(torch.clamp(ratio, config["clip_low_threshold"], config["clip_high_threshold"]).detach() * lp * A).sum()


def dro(lp, q, A, w, config):
    return -(lp * A - 0.5 * config["beta"] * (lp - q) ** 2).sum()


CASES = [
    (cross_entropy, {}),
    (importance_sampling, {}),
    (ppo, {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}),
    (ppo, {"clip_low_threshold": 0.5, "clip_high_threshold": 1.05}),
    (ppo, {"clip_low_threshold": 0.0, "clip_high_threshold": 1e9}),
    (cispo, {"clip_low_threshold": 0.0, "clip_high_threshold": 4.0}),
    (cispo, {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}),
    (dro, {"beta": 0.05}),
    (dro, {"beta": 0.5}),
]


def by_hand(loss, lp, q, A, w, config):
    """A second path: the derivatives of TINKER's table, written out."""
    ratio = torch.exp(lp - q)
    if loss is cross_entropy:
        return -w
    if loss is importance_sampling:
        return -ratio * A
    if loss is dro:
        return -(A - config["beta"] * (lp - q))
    low, high = config["clip_low_threshold"], config["clip_high_threshold"]
    if loss is cispo:
        return -ratio.clamp(low, high) * A
    stopped = ((A > 0) & (ratio > high)) | ((A < 0) & (ratio < low))
    return torch.where(stopped, torch.zeros_like(ratio), -ratio * A)


def make_inputs():
    """Ratios from 0.2 to 5 with advantages of both signs; every fourth advantage and weight 0; ratio exactly 1 at token 0."""
    generator = torch.Generator().manual_seed(5)
    q = -4 * torch.rand(TOKENS, generator=generator) - 0.05
    lp = (q + 0.7 * torch.randn(TOKENS, generator=generator)).clamp(max=-0.01)
    lp[0] = q[0]
    A = torch.randn(TOKENS, generator=generator)
    w = torch.rand(TOKENS, generator=generator) * 2 - 0.5
    A[3::4] = 0
    w[2::4] = 0
    return [tensor.float().double() for tensor in (lp, q, A, w)]


if __name__ == "__main__":
    make_deterministic()
    lp, q, A, w = make_inputs()
    ratio = torch.exp(lp - q)
    assert all(((ratio - limit).abs() > 1e-3).all() for limit in (0.5, 0.8, 1.05, 1.2, 4.0)), "a ratio lies on a clip limit"
    cases = []
    for loss, config in CASES:
        leaf = lp.clone().requires_grad_(True)
        value = loss(leaf, q, A, w, config)
        value.backward()
        assert torch.allclose(leaf.grad, by_hand(loss, lp, q, A, w, config), rtol=1e-12, atol=1e-12), loss.__name__
        cases.append({"lossFn": loss.__name__, "config": config, "loss": value.item(), "gradient": numbers(leaf.grad)})
    for sign in (A > 0, A < 0):
        assert (sign & (ratio < 0.8)).any() and (sign & (ratio > 1.2)).any() and (sign & (ratio > 0.8) & (ratio < 1.2)).any()
    write_json(ROOT / "losses.json", {"madeWith": versions(torch), "trainingLogprobs": numbers(lp), "samplingLogprobs": numbers(q), "advantages": numbers(A), "weights": numbers(w), "cases": cases})
    print(f"losses: {len(cases)} cases, ratios {ratio.min():.2f} to {ratio.max():.2f}")
