"""torch.optim.AdamW for 20 steps with clipping and transformers' schedules, and the schedules alone. Writes tests/golden/adamw.json."""
import torch
import transformers
from transformers import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from fixture import ROOT, make_deterministic, numbers, versions, write_json

STEPS, WARMUP, KEPT = 20, 4, (1, 2, 10, 20)
SHAPES = {"matrix": (5, 7), "vector": (13,), "cube": (2, 3, 4), "scalar": (1,)}
SCHEDULES = {
    "constant": lambda optimizer: get_constant_schedule_with_warmup(optimizer, 0),
    "constant-warmup": lambda optimizer: get_constant_schedule_with_warmup(optimizer, WARMUP),
    "linear": lambda optimizer: get_linear_schedule_with_warmup(optimizer, 0, STEPS),
    "linear-warmup": lambda optimizer: get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS),
    "cosine": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, 0, STEPS),
    "cosine-warmup": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS),
}
RUNS = {
    "linear": dict(schedule="linear-warmup", learningRate=0.01, beta1=0.9, beta2=0.999, eps=1e-8, weightDecay=0.01, gradClipNorm=1.0),
    "cosine": dict(schedule="cosine-warmup", learningRate=0.02, beta1=0.9, beta2=0.95, eps=1e-12, weightDecay=0.1, gradClipNorm=1.0),
}


def make_gradients() -> list[dict[str, torch.Tensor]]:
    """Norms on both sides of the clipping limit, from 0.1 to 10; "cube" gets no gradient (zeros) in steps 1 to 3, all get zeros in step 8."""
    generator = torch.Generator().manual_seed(2)
    gradients = []
    for step in range(STEPS):
        scale = 0.012 * 10 ** (2 * ((step * 7) % STEPS) / (STEPS - 1))
        one = {name: torch.randn(shape, generator=generator) * scale for name, shape in SHAPES.items()}
        if step < 3:
            one["cube"].zero_()
        if step == 7:
            one = {name: torch.zeros_like(gradient) for name, gradient in one.items()}
        gradients.append(one)
    return gradients


def optimise(options: dict, initial, gradients, dtype) -> dict:
    """Learning rate used, norm before clipping, and the parameters after the kept steps."""
    parameters = {name: torch.nn.Parameter(value.to(dtype, copy=True)) for name, value in initial.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=options["learningRate"], betas=(options["beta1"], options["beta2"]), eps=options["eps"], weight_decay=options["weightDecay"], foreach=False)
    schedule = SCHEDULES[options["schedule"]](optimizer)
    rates, norms, kept = [], [], {}
    for step, one in enumerate(gradients, start=1):
        for name, parameter in parameters.items():
            parameter.grad = one[name].to(dtype, copy=True)  # clipping works in place
        norms.append(torch.nn.utils.clip_grad_norm_(parameters.values(), options["gradClipNorm"]).item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        if step in KEPT:
            kept[str(step)] = {name: numbers(parameter.clone()) for name, parameter in parameters.items()}
    return {"learningRates": rates, "gradNorms": norms, "parametersAfter": kept}


def largest_difference(one, other) -> float:
    return max(abs(a - b) for step in one["parametersAfter"] for name in SHAPES for a, b in zip(one["parametersAfter"][step][name], other["parametersAfter"][step][name], strict=True))


def rates_of(make) -> list[float]:
    """The factor of each step, that is with a base rate of 1; entry 0 is what the first step uses."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = make(optimizer), []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


if __name__ == "__main__":
    make_deterministic()
    generator = torch.Generator().manual_seed(1)
    initial = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    gradients, runs = make_gradients(), {}
    for name, options in RUNS.items():
        plain, exact = (optimise(options, initial, gradients, dtype) for dtype in (torch.float32, torch.float64))
        gap = largest_difference(plain, exact)
        assert gap < 2e-6, gap
        norms = plain["gradNorms"]
        assert min(norms) == 0 and sum(norm > 1 for norm in norms) >= 5 and sum(0 < norm < 1 for norm in norms) >= 5, norms
        runs[name] = {"options": options, "float32Gap": gap, **plain}
        print(f"{name}: float32 gap {gap:.2g}, norms {min(norms):.3g} to {max(norms):.3g}")
    write_json(ROOT / "adamw.json", {
        "madeWith": versions(torch, transformers), "steps": STEPS, "warmupSteps": WARMUP, "shapes": {name: list(shape) for name, shape in SHAPES.items()},
        "initial": {name: numbers(value) for name, value in initial.items()},
        "gradients": [{name: numbers(value) for name, value in one.items()} for one in gradients],
        "runs": runs, "schedules": {name: rates_of(make) for name, make in SCHEDULES.items()},
    })
