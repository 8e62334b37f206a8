"""Writes tests/golden/tokenizers/chats.json: what transformers' apply_chat_template makes of chats.

    python tools/golden/text_chats.py [--data ../shared/data]

Run tools/golden/text_tokenizers.py first. Templates are those of tests/golden/tokenizers/templates, with the small
tokenizer and the special tokens that each wants, and those of SmolLM2 and Qwen2 with their own tokenizers.
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import re

import transformers.utils.chat_template_utils as chat_template_utils
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/tokenizers"
NOW = datetime.datetime(2026, 11, 5, 9, 5, 7)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather at a place \u2014 \"now\" & <here>", "parameters": {"type": "object", "properties": {"place": {"type": "string", "description": "Ort, z. B. K\u00f6ln \U0001f600"}, "unit": {"type": "string", "enum": ["C", "F"], "default": None}, "exact": {"type": "boolean", "default": False}, "digits": {"type": "number", "minimum": 0.5}}, "required": ["place"]}}},
    {"type": "function", "function": {"name": "stop", "description": "", "parameters": {"type": "object", "properties": {}}}},
]
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "get_weather", "arguments": {"place": "K\u00f6ln", "digits": 2, "exact": True, "nested": {"a": [1, 2.5, None, 1e-7, 123456.789, -0.00002], "b": "x\"y\n"}}}}]}
CHATS = {
    "one turn": [{"role": "user", "content": "What is 2+2?"}, {"role": "assistant", "content": "4"}],
    "user only": [{"role": "user", "content": "Hello there"}],
    "system": [{"role": "system", "content": "You are terse.\nAnswer in German."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hallo!"}],
    "many turns": [{"role": "system", "content": "S"}, *[{"role": role, "content": f"{role} says {i}"} for i in range(4) for role in ("user", "assistant")]],
    "unicode": [{"role": "user", "content": "\u4f60\u597d \U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301 caf\u00e9 \u0645\u0631\u062d\u0628\u0627\u00a0!"}, {"role": "assistant", "content": "\U0001f600 \u2028 \u0928\u092e\u0938\u094d\u0924\u0947 a\u030a\ufeff"}],
    "edges of white space": [{"role": "system", "content": "  s \n"}, {"role": "user", "content": "\n\n  question?  \n"}, {"role": "assistant", "content": "\n  answer with edges \t\n\n"}, {"role": "user", "content": " \u0085more\u001f\u00a0"}, {"role": "assistant", "content": "\u00a0x\u0085"}],
    "code": [{"role": "user", "content": "Write it:\r\n```js\n\tx => `${x}`\n```"}, {"role": "assistant", "content": "```js\nconst f = (x) => {\n    return x ** 2; // {{ x }} {% if %}\n};\n```"}],
    "special tokens inside": [{"role": "user", "content": "say <|im_end|> and <|eot_id|> and </s>"}, {"role": "assistant", "content": "I say <|im_end|> now"}],
    "tools": [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "Weather in K\u00f6ln?"}],
    "tool call": [{"role": "user", "content": "Weather in K\u00f6ln?"}, CALL, {"role": "tool", "content": "{\"temperature\": 7.5}"}, {"role": "assistant", "content": "It is 7.5 \u00b0C."}],
    "two tool calls": [{"role": "user", "content": "Go"}, {"role": "assistant", "content": "I look.", "tool_calls": [CALL["tool_calls"][0], {"type": "function", "function": {"name": "stop", "arguments": {}}}]}, {"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}, {"role": "assistant", "content": "Done."}],
    "thinking at the end": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>\nBecause   \n  of it.\n</think>\n\nThat is why."}],
    "thinking earlier": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\n  Therefore."}, {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Nothing."}],
    "reasoning beside": [{"role": "user", "content": "Why?"}, {"role": "assistant", "reasoning_content": "\nI think so.\n", "content": "Yes."}],
    "empty answer": [{"role": "user", "content": "Say nothing"}, {"role": "assistant", "content": ""}],
    "short": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
    "json": [{"role": "user", "content": "{\"a\": 1}"}, {"role": "assistant", "content": "{\"b\": [1, 2.0, \"\\u00e9\"], \"c\": \"it's\"}"}],
}
WITH_TOOLS = {"tools", "tool call", "two tool calls"}

HEADERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
INST = ["<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"]
TEMPLATES = {
    "llama-3": {"added": HEADERS, "bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "mistral": {"added": INST, "bos_token": "<s>", "eos_token": "</s>"},
    "chatml-tools": {"added": [], "eos_token": "<|im_end|>"},
    "thinking": {"added": [], "eos_token": "<|im_end|>"},
    "generation": {"added": [], "eos_token": "<|im_end|>"},
    "quirks": {"added": [], "bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
    "CHATML_TEMPLATE": {"added": [], "eos_token": "<|im_end|>"},
}


def hash_ids(ids: list[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:8]


def runs(mask: list[int]) -> list[int]:
    """Lengths of runs of 0, 1, 0, 1..."""
    out, value = [0], 0
    for bit in mask:
        if bit != value:
            out.append(0)
            value = bit
        out[-1] += 1
    return out


def render(tokenizer: PreTrainedTokenizerFast, messages: list, tools: list | None, prompt: bool, has_mask: bool) -> dict:
    try:
        text = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=False)
        out = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=prompt, tokenize=True, return_dict=True, return_assistant_tokens_mask=has_mask)
    except Exception as error:  # noqa: BLE001: what a template refuses is part of the golden
        return {"error": type(error).__name__}
    golden = {"text": text, "ids": hash_ids(out["input_ids"]), "count": len(out["input_ids"])}
    return {**golden, "mask": runs(out["assistant_masks"])} if has_mask else golden


def chatml_template() -> str:
    source = (ROOT / "src/text/chatml.ts").read_text()
    return re.search(r"`(\{%-.*?)`", source, re.S).group(1).replace("\\\\n", "\\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=str(ROOT / "../shared/data"))
    data = pathlib.Path(parser.parse_args().data) / "tokenizers"
    chat_template_utils.datetime = Clock

    tokenizers = {}
    for name, wants in TEMPLATES.items():
        base = Tokenizer.from_file(str(OUT / "small/tokenizer.json"))
        base.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in wants["added"]])
        source = chatml_template() if name == "CHATML_TEMPLATE" else (OUT / f"templates/{name}.jinja").read_text()
        special = {key: wants[key] for key in ("bos_token", "eos_token") if key in wants}
        tokenizers[name] = PreTrainedTokenizerFast(tokenizer_object=base, chat_template=source, **special)
    for name in ("smollm2-135m", "qwen2"):
        config = json.loads((data / name / "tokenizer_config.json").read_text())
        path = data / name / "chat_template.jinja"
        source = path.read_text() if path.exists() else config["chat_template"]
        special = {key: config[key] for key in ("bos_token", "eos_token", "pad_token", "unk_token") if config.get(key)}
        base = Tokenizer.from_file(str(data / name / "tokenizer.json"))
        base.no_truncation()
        tokenizers[name] = PreTrainedTokenizerFast(tokenizer_object=base, chat_template=source, **special)

    goldens = {}
    for name, tokenizer in tokenizers.items():
        has_mask = "generation %}" in tokenizer.chat_template or "generation -%}" in tokenizer.chat_template
        goldens[name] = [
            {"chat": chat, "prompt": prompt, **render(tokenizer, messages, TOOLS if chat in WITH_TOOLS else None, prompt, has_mask)}
            for chat, messages in CHATS.items()
            for prompt in (False, True)
        ]
    value = {"now": NOW.isoformat(), "tools": TOOLS, "withTools": sorted(WITH_TOOLS), "chats": CHATS, "templates": TEMPLATES, "goldens": goldens}
    (OUT / "chats.json").write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
