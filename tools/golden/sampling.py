"""What transformers makes of logits before it draws, and what its beam search finds. Writes tests/golden/sampling.json."""
import torch
import transformers
from transformers import AutoModelForCausalLM
from transformers.generation import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from exact import exact_copy
from fixture import ROOT, make_deterministic, numbers, versions, write_json

VOCABULARY = 48
# Off: penalty 1, temperature 1, k -1, p 1, min-p 0. Steps run in the order of generate().
SETTINGS = [
    dict(),
    dict(temperature=0.7),
    dict(temperature=1.6),
    dict(topK=1),
    dict(topK=5),
    dict(topK=48),
    dict(topP=0.05),
    dict(topP=0.5),
    dict(topP=0.9),
    dict(topP=0.999),
    dict(minP=0.05),
    dict(minP=0.4),
    dict(repetitionPenalty=1.3),
    dict(repetitionPenalty=0.8),
    dict(temperature=0.8, topK=12, topP=0.8),
    dict(temperature=1.5, topP=0.9, minP=0.1),
    dict(temperature=1.2, topK=20, topP=0.95, minP=0.02, repetitionPenalty=1.2),
    dict(topK=6, topP=0.6, minP=0.3),
]


def logits_tables() -> dict[str, torch.Tensor]:
    """Peaked, nearly flat, and one with ties at every edge: only eight different values."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(VOCABULARY, generator=generator)
    return {
        "peaked": (3 * noise).float(),
        "flat": (0.1 * noise).float(),
        "tied": torch.randint(-4, 4, (VOCABULARY,), generator=generator).float(),
    }


def probabilities(logits: torch.Tensor, seen: list[int], setting: dict) -> torch.Tensor:
    """The processors in float64, one row, in the order in which generate() runs them."""
    ids, scores = torch.tensor([seen]), logits.double()[None]
    steps = [
        (RepetitionPenaltyLogitsProcessor, "repetitionPenalty"),
        (TemperatureLogitsWarper, "temperature"),
        (TopKLogitsWarper, "topK"),
        (TopPLogitsWarper, "topP"),
        (MinPLogitsWarper, "minP"),
    ]
    for step, name in steps:
        if name in setting:
            scores = step(setting[name])(ids, scores)
    return scores.softmax(-1)[0]


def processor_cases() -> list[dict]:
    cases = []
    for name, logits in logits_tables().items():
        seen = [3, 11, 3, 40] + logits.topk(4).indices[1:].tolist()
        cases.append(
            dict(
                name=name,
                logits=numbers(logits),
                seen=seen,
                settings=[dict(params=setting, probabilities=numbers(probabilities(logits, seen, setting))) for setting in SETTINGS],
            )
        )
    return cases


# Stop tokens are ones that the model likes, so that beams end at many lengths.
MODELS = {
    "qwen2": dict(prompt=[7, 22, 51, 3], few=[16], many=[16, 54]),
    "mistral": dict(prompt=[1, 60, 13, 28, 28, 9, 44], few=[5, 17, 23, 40], many=[5, 17, 23, 40, 9, 31]),
}
BEAMS = [
    dict(numBeams=2, stop="few"),
    dict(numBeams=4, stop="few"),
    dict(numBeams=4, stop="few", lengthPenalty=0.0),
    dict(numBeams=4, stop="few", lengthPenalty=2.0),
    dict(numBeams=4, stop="few", lengthPenalty=2.0, earlyStopping=True),
    dict(numBeams=3, stop="few", lengthPenalty=1.0, earlyStopping="never"),
    dict(numBeams=4, stop="few", lengthPenalty=-1.0, earlyStopping="never"),
    # For qwen2 the three rules of stopping give three results.
    dict(numBeams=4, stop="many", lengthPenalty=1.6, earlyStopping=True),
    dict(numBeams=4, stop="many", lengthPenalty=1.6, earlyStopping=False),
    dict(numBeams=4, stop="many", lengthPenalty=1.6, earlyStopping="never"),
    dict(numBeams=6, stop="many", lengthPenalty=0.5),
]
NEW_TOKENS = 10


def beam_cases() -> list[dict]:
    cases = []
    for name, setting in MODELS.items():
        prompt = setting["prompt"]
        model = exact_copy(AutoModelForCausalLM.from_pretrained(ROOT / "models" / name, dtype=torch.float32).eval())
        for beam in BEAMS:
            options = {key: value for key, value in beam.items() if key != "stop"} | dict(stopTokens=setting[beam["stop"]])
            out = model.generate(
                torch.tensor([prompt]),
                attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
                max_new_tokens=NEW_TOKENS,
                num_beams=options["numBeams"],
                num_return_sequences=options["numBeams"],
                eos_token_id=options["stopTokens"],
                pad_token_id=0,
                length_penalty=options.get("lengthPenalty", 1.0),
                early_stopping=options.get("earlyStopping", False),
                do_sample=False,
                return_dict_in_generate=True,
                output_scores=True,
            )
            beams = []
            for row, score in zip(out.sequences[:, len(prompt):].tolist(), out.sequences_scores.tolist(), strict=True):
                end = next((i + 1 for i, token in enumerate(row) if token in options["stopTokens"]), len(row))
                beams.append(dict(tokens=row[:end], score=score))
            cases.append(dict(model=name, prompt=prompt, maxTokens=NEW_TOKENS, options=options, beams=beams))
    lengths = {len(beam["tokens"]) for case in cases for beam in case["beams"]}
    assert len(lengths) > 4, f"beams end at lengths {lengths} only: the cases say little about stopping"
    return cases


if __name__ == "__main__":
    make_deterministic()
    write_json(
        ROOT / "sampling.json",
        dict(madeWith=versions(torch, transformers), processors=processor_cases(), beams=beam_cases()),
    )
