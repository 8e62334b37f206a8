"""Writes tests/golden/tokenizers: strings, and what the Python `tokenizers` library makes of them.

    python tools/golden/text_tokenizers.py [--data ../shared/data]

(Not called tokenizers.py: that name would hide the library from every script here.)
Needs tokenizers and transformers. Everything is deterministic: run twice, the files are the same.

  strings.json     2,000 strings
  small/           a byte-level BPE tokenizer of 1,000 tokens; Hone's trainer must make the same one of the strings
  bytes/           a BPE tokenizer with Metaspace and byte fallback, trained here
  variants.json    changes to one of those two (pre-tokenizer, normalizer, added tokens...), to test every stage
  ids.json         per tokenizer: an 8-digit hash of each string's ids, concatenated; and some ids in full
  decodes.json     per tokenizer: lists of ids and the texts they decode to
"""

import argparse
import copy
import hashlib
import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/golden/tokenizers"

CODE = [
    "def f(x: int = 0) -> list[str]:\n    return [f\"{i:>08.3f}\" for i in range(x) if i % 2 != 0]\n",
    "async function* walk(dir) {\n\tfor await (const e of await opendir(dir)) yield `${dir}/${e.name}`;\n}\n",
    "export const sum = <T extends number>(xs: readonly T[]): number => xs.reduce((a, b) => a + b, 0);\r\n",
    "#include <stdio.h>\r\nint main(void) {\r\n    printf(\"%d\\n\", 0x1F << 3);\r\n    return 0;\r\n}\r\n",
    "fn main() -> Result<(), Box<dyn Error>> {\n    let v: Vec<u8> = vec![0; 1_000_000];\n    println!(\"{:?}\", &v[..3]);\n    Ok(())\n}",
    "package main\n\nimport \"fmt\"\n\nfunc main() {\n\tch := make(chan int, 8)\n\tgo func() { ch <- 1 }()\n\tfmt.Println(<-ch)\n}\n",
    "SELECT T1.name, COUNT(*) AS n FROM singer AS T1 JOIN concert AS T2 ON T1.id = T2.singer_id WHERE T2.year >= 2014 GROUP BY T1.name HAVING n > 1 ORDER BY n DESC LIMIT 10;",
    "INSERT INTO \"t\" VALUES (1,'it''s',NULL),(2,'x\\\\y',3.14e-10);\n-- done\n",
    "{\"a\": [1, 2.5, -3e8, null, true], \"b\": {\"c\\\"d\": \"\\u00e9\\n\"}, \"\": []}",
    "[\n  {\n    \"id\": 1,\n    \"tags\": [\"x\", \"y\"]\n  }\n]\n",
    "<div class=\"a b\" data-x='1'>&nbsp;<!-- c --><br/></div>\n\n\n<p>text</p>",
    "key: value\nlist:\n  - a\n  - \"b: c\"\nmulti: |\n    line one\n    line two\n",
    "#!/bin/bash\nset -euo pipefail\nfor f in *.txt; do\n  awk '{print $1}' \"$f\" | sort -u >> out.log 2>&1\ndone",
    "public static <T> Optional<T> find(List<? super T> xs, Predicate<T> p) { return xs.stream().filter(p).findFirst(); }",
    "main = do\n  xs <- fmap lines getContents\n  mapM_ (print . (+1) . read) xs -- ok\n",
    "\\frac{\\partial L}{\\partial w_{ij}} = \\sum_{k=1}^{n} \\delta_k^{(l)} a_j^{(l-1)}",
    "diff --git a/x.ts b/x.ts\n@@ -1,3 +1,4 @@\n-const a=1;\n+const a = 1;\n \t\n",
    "https://example.com/a/b?c=d&e=%20f#g user.name+tag@example.org C:\\Users\\x\\y.txt",
]
PROSE = [
    "The quick brown fox jumps over the lazy dog.", "It's what we've said: they'll go, I'd stay, you're right, I'm not.",
    "IT'S WHAT WE'VE SAID: THEY'LL GO, I'D STAY, YOU'RE RIGHT, I'M NOT.", "Natalia sold 48/2 = 24 clips in May; 48+24=72.",
    "it\u2019s a \u201cquoted\u201d text \u2014 with \u2026 dashes \u2013 and so on", "don't 'tis o'clock rock'n'roll 'S'T'RE'VE",
    "\u00c4pfel, \u00d6l, \u00fcber, Stra\u00dfe, na\u00efve, caf\u00e9, \u00c5ngstr\u00f6m, \u0141\u00f3d\u017a, \u010de\u0161tina", "Les \u0153uvres d\u2019\u00e9t\u00e9 \u00ab\u00a0oui\u00a0\u00bb",
    "it'\u017f lo\u017ft, 2\u212a and 3\u212b, o\ufb03ce \ufb01n", "\u1e9e\u00df \u0130\u0131I i\u0307",
]
WORLD = [
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u5929\u6c14\u5f88\u597d\u3002", "\u6771\u4eac\u90fd\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4. \u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641 \u062d\u0627\u0644\u0643\u061f \u0661\u0662\u0663\u0664", "\u0628\u0650\u0633\u0652\u0645\u0650 \u0671\u0644\u0644\u0651\u0670\u0647\u0650 \u0671\u0644\u0631\u0651\u064e\u062d\u0652\u0645\u064e\u0670\u0646\u0650", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u05d1\u05bc\u05b0\u05e8\u05b5\u05d0\u05e9\u05c1\u05b4\u05d9\u05ea",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e\u0964 \u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0967\u0968\u0969", "\u09ac\u09be\u0982\u09b2\u09be \u09ad\u09be\u09b7\u09be", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e51\u0e52\u0e53", "\u0b95\u0bca \u0b95\u0bcc \u0bae\u0bca\u0bb4\u0bbf", "\u1019\u103c\u1014\u103a\u1019\u102c",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430 \u0439 \u0438\u0306", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u038c\u03a3\u039f\u03a3 \u03c3\u03c2", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u12a0\u121b\u122d\u129b \u1369\u136a",
    "e\u0301 e\u0301\u0302 a\u030a \u212b \u1e69 s\u0323\u0307 s\u0307\u0323 \u0344", "Z\u0351\u036b\u0343\u036aA\u0334\u0335\u031cL\u0360\u0322\u031aG\u0315\u031b\u0301O\u0321", "\ufdfa \uff21\uff22\uff23 \uff11\uff12\uff13 \u2460\u2461 \u2162 \u00bd \u00b2 \u2075", "\U0001d54f\U0001d7d8 \U0001d11e \U00020000\U0002f800 \U0001f130",
]
EMOJI = [
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f3\ufe0f\u200d\U0001f308", "\U0001f44d\U0001f3fd", "\u2764\ufe0f\u200d\U0001f525", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3", "\U0001f9d1\U0001f3ff\u200d\U0001f4bb", "\u263a", "\U0001fae8", "\u270a\U0001f3fb",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
]
SPACE = [" ", "  ", "   ", "    ", " " * 7, " " * 16, " " * 33, "\t", "\t\t", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\n \n", " \n", "\n ", "\t \t", "\u00a0", "\u00a0 ", " \u00a0", "\u2003", "\u2009", "\u3000", "\u200b", "\ufeff", "\u0085", "\u2028", "\u2029", "\u202f", "\u1680", "\u000b", "\u000c", "\u180e", "\u2060"]
CONTROL = ["\u0000", "\u0001", "\u0007", "\u0008", "\u001b[31m", "\u001c", "\u001f", "\u007f", "\u0080", "\u009f", "\u00ad", "\u200e", "\u202e", "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\ue000", "\U000f0000"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>user\n", "<|im_end|>\n", "<repo_name>", "<|im_end|", "|im_end|>", "<| im_end |>", "<s>", "</s>", "<unk>", "<0x41>", "[INST]", "<|endoftext|><|endoftext|>", "<fim_prefix>", "\u2581", "\u2581a\u2581", "\u0120word", "##ing", "</w>", "<end>", " <pad> "]
PUNCT = ["!", "?!", "...", "--", "==", "=>", "!==", "&&", "||", "//", "/*", "*/", "{}", "[]", "();", "'''", "\"\"\"", "```", "~~~", "@#$%^&*", "\u00a1\u00bf", "\u20ac\u00a3\u00a5", "\u00b1\u00d7\u00f7\u2260\u2248", "\u3001\u3002\u300c\u300d", "\u2190\u2192\u21d2", "_", "__init__", "\u2588\u2588", "<", ">", "</"]


def make_strings() -> list[str]:
    rng = random.Random(20261120)
    atoms = CODE + PROSE + WORLD + EMOJI + CONTROL + SPECIAL + PUNCT
    strings = ["", " ", "\n", "a", " a", "a ", *CODE, *PROSE, *WORLD, *EMOJI, *SPACE, *CONTROL, *SPECIAL, *PUNCT]
    strings += [f"a{space}b" for space in SPACE] + [f"{space}b" for space in SPACE] + [f"a{space}" for space in SPACE]
    strings += ["7" * n for n in (1, 2, 3, 4, 5, 9, 17, 64, 257)] + [str(10**40 + 7), "3.14159265358979", "1,234,567.89", "0xDEADBEEF", "12:34:56.789", "+49 (0)30 1234-5678"]
    strings += ["a" * 1000, " " * 1000, "ab" * 400, "\u4f60" * 300, "\U0001f600" * 60, "!?" * 300, "\n" * 200, "\u0301" * 40, "a\u0301" * 60, "Donaudampfschifffahrtsgesellschaft" * 8]

    def digits() -> str:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, 24)))

    def characters() -> str:
        out = []
        for _ in range(rng.randint(1, 12)):
            plane = rng.random()
            if plane < 0.5:
                code = rng.randint(0x20, 0x7E)
            elif plane < 0.7:
                code = rng.randint(0x80, 0x52F)
            elif plane < 0.9:
                code = rng.choice([rng.randint(0x900, 0x97F), rng.randint(0x600, 0x6FF), rng.randint(0x3040, 0x30FF), rng.randint(0x4E00, 0x9FFF), rng.randint(0xAC00, 0xD7A3), rng.randint(0x1100, 0x11FF), rng.randint(0x2000, 0x27BF)])
            else:
                code = rng.choice([rng.randint(0x1F300, 0x1F64F), rng.randint(0x1D400, 0x1D7FF), rng.randint(0x20000, 0x2A6DF), rng.randint(0x300, 0x36F)])
            out.append(chr(code))
        return "".join(out)

    def cut(text: str) -> str:
        start = rng.randint(0, max(0, len(text) - 1))
        return text[start : start + rng.randint(1, 40)]

    while len(strings) < 2000:
        parts = []
        for _ in range(rng.randint(1, 6)):
            kind = rng.random()
            if kind < 0.35:
                parts.append(cut(rng.choice(atoms)))
            elif kind < 0.5:
                parts.append(rng.choice(SPACE))
            elif kind < 0.6:
                parts.append(digits())
            elif kind < 0.8:
                parts.append(characters())
            elif kind < 0.87:
                parts.append(rng.choice(SPECIAL))
            elif kind < 0.93:
                parts.append(rng.choice(EMOJI))
            else:
                parts.append(rng.choice(PUNCT))
        strings.append("".join(parts))
    return strings[:2000]


def hash_ids(ids: list[int]) -> str:
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:8]


def goldens(tok: Tokenizer, strings: list[str], ids_of_decodes: int) -> tuple[dict, list]:
    tok.no_truncation()
    tok.no_padding()
    ids = [tok.encode(text, add_special_tokens=False).ids for text in strings]
    with_special = [tok.encode(text, add_special_tokens=True).ids for text in strings[:200]]
    full = {str(i): ids[i] for i in range(0, len(strings), len(strings) // 20)}
    entry = {"hashes": "".join(map(hash_ids, ids)), "withSpecialTokens": "".join(map(hash_ids, with_special)), "full": full, "vocabSize": max(tok.get_vocab(True).values()) + 1}
    rng = random.Random(7)
    known = sorted(tok.get_vocab(True).values())
    samples = [[rng.choice(known) for _ in range(rng.randint(1, 10))] for _ in range(ids_of_decodes // 2)]
    # Cut real encodings anywhere: characters are torn apart, and some ids do not exist.
    while len(samples) < ids_of_decodes:
        source = rng.choice(ids)
        if len(source) < 2:
            continue
        start = rng.randint(0, len(source) - 1)
        piece = source[start : start + rng.randint(1, 12)]
        if rng.random() < 0.1:
            piece.insert(rng.randint(0, len(piece)), 9_999_999)
        if rng.random() < 0.2:
            rng.shuffle(piece)
        samples.append(piece)
    decodes = [[sample, tok.decode(sample, skip_special_tokens=False), tok.decode(sample, skip_special_tokens=True)] for sample in samples]
    decodes = [[a, b] if b == c else [a, b, c] for a, b, c in decodes]
    return entry, decodes


def train_small(strings: list[str]) -> Tokenizer:
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(vocab_size=1000, min_frequency=2, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator(strings, trainer)
    return tok


def save(tok: Tokenizer, name: str) -> None:
    (OUT / name).mkdir(parents=True, exist_ok=True)
    (OUT / name / "tokenizer.json").write_text(json.dumps(json.loads(tok.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")


def train_bytes(strings: list[str]) -> Tokenizer:
    """SentencePiece's manner as tokenizer.json: Metaspace, byte fallback, merges."""
    tok = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False, max_token_length=12)
    # Few characters, so that the rest needs byte tokens. (limit_alphabet would break ties at random.)
    tok.train_from_iterator([text for text in strings if len(text) < 200 and all(char <= "\u017e" or char in "\u4e16\u754c\u2192" for char in text)], trainer)
    value = json.loads(tok.to_str())
    # Byte tokens are ordinary tokens in real files.
    value["added_tokens"] = [token for token in value["added_tokens"] if token["id"] < 3]
    value["post_processor"] = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return Tokenizer.from_str(json.dumps(value))


def added(id: int, content: str, **flags: bool) -> dict:
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2_BYTE_LEVEL = {**BYTE_LEVEL, "use_regex": True}


def after(*stages: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": list(stages)}


def split(regex: str, behavior: str = "Isolated", invert: bool = False) -> dict:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]

VARIANTS = [
    {"name": "llama-3 words", "base": "small", "patch": {"pre_tokenizer": after(split(LLAMA3), BYTE_LEVEL)}},
    {"name": "llama-3 words, whole words first", "base": "small", "patch": {"pre_tokenizer": after(split(LLAMA3), BYTE_LEVEL), "model.ignore_merges": True}},
    {"name": "tekken words", "base": "small", "patch": {"pre_tokenizer": after(split(TEKKEN), BYTE_LEVEL)}},
    {"name": "digits one by one", "base": "small", "patch": {"pre_tokenizer": after({"type": "Digits", "individual_digits": True}, GPT2_BYTE_LEVEL)}},
    {"name": "digits in runs", "base": "small", "patch": {"pre_tokenizer": after({"type": "Digits", "individual_digits": False}, GPT2_BYTE_LEVEL)}},
    {"name": "deepseek-coder words", "base": "small", "patch": {"pre_tokenizer": after(*map(split, DEEPSEEK), {"type": "Digits", "individual_digits": True}, BYTE_LEVEL)}},
    {"name": "prefix space", "base": "small", "patch": {"pre_tokenizer": {**GPT2_BYTE_LEVEL, "add_prefix_space": True}}},
    {"name": "NFC", "base": "small", "patch": {"normalizer": {"type": "NFC"}}},
    {"name": "NFKC and lower case", "base": "small", "patch": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}}},
    {"name": "NFD without accents, stripped", "base": "small", "patch": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Strip", "strip_left": True, "strip_right": True}]}}},
    {"name": "replace", "base": "small", "patch": {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}, {"type": "Replace", "pattern": {"String": "a"}, "content": "$1"}]}}},
    {"name": "merged with previous", "base": "small", "patch": {"pre_tokenizer": after(split(r"[ae]", "MergedWithPrevious"), BYTE_LEVEL)}},
    {"name": "merged with next", "base": "small", "patch": {"pre_tokenizer": after(split(r"[ae]", "MergedWithNext"), BYTE_LEVEL)}},
    {"name": "contiguous", "base": "small", "patch": {"pre_tokenizer": after(split(r"[ae ]", "Contiguous"), BYTE_LEVEL)}},
    {"name": "removed", "base": "small", "patch": {"pre_tokenizer": after(split(r"\s", "Removed"), BYTE_LEVEL)}},
    {"name": "removed, inverted", "base": "small", "patch": {"pre_tokenizer": after(split(r"\w+|[^\w\s]+", "Removed", True), BYTE_LEVEL)}},
    {"name": "punctuation", "base": "small", "patch": {"pre_tokenizer": after({"type": "Punctuation", "behavior": "Contiguous"}, BYTE_LEVEL)}},
    {"name": "whitespace", "base": "small", "patch": {"pre_tokenizer": after({"type": "Whitespace"}, BYTE_LEVEL)}},
    {"name": "whitespace split", "base": "small", "patch": {"pre_tokenizer": after({"type": "WhitespaceSplit"}, BYTE_LEVEL)}},
    {"name": "bert words", "base": "small", "patch": {"pre_tokenizer": after({"type": "BertPreTokenizer"}, BYTE_LEVEL)}},
    {"name": "added tokens that strip", "base": "small", "patch": {"normalizer": {"type": "Lowercase"}, "added_tokens": [added(0, "<|endoftext|>", special=True), added(1, "<|im_start|>", special=True, rstrip=True), added(2, "<|im_end|>", special=True, lstrip=True), added(1000, "the", single_word=True), added(1001, "IT", normalized=True), added(1002, "   "), added(1003, "\uff5cbar\uff5c"), added(1004, "    "), added(1005, "<end>", lstrip=True, rstrip=True, normalized=True)]}},
    {"name": "GPT-2 template", "base": "small", "patch": {"post_processor": {"type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|im_end|>", "type_id": 0}}], "pair": [], "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}, "<|im_end|>": {"id": "<|im_end|>", "ids": [2], "tokens": ["<|im_end|>"]}}}]}}},
    {"name": "metaspace split, always", "base": "bytes", "patch": {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}}},
    {"name": "metaspace split, never", "base": "bytes", "patch": {"pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True}, "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "never", "split": True}}},
    {"name": "llama-2 normalizer", "base": "bytes", "patch": {"pre_tokenizer": None, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}}},
    {"name": "unknown tokens, fused", "base": "bytes", "patch": {"model.byte_fallback": False}},
    {"name": "unknown tokens, one by one", "base": "bytes", "patch": {"model.byte_fallback": False, "model.fuse_unk": False}},
    {"name": "unknown characters dropped", "base": "bytes", "patch": {"model.byte_fallback": False, "model.unk_token": None}},
    {"name": "metaspace decoder", "base": "bytes", "patch": {"decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}}},
]


def patched(base: Tokenizer, patch: dict) -> Tokenizer:
    value = copy.deepcopy(json.loads(base.to_str()))
    for path, part in patch.items():
        target = value
        *parents, last = path.split(".")
        for parent in parents:
            target = target[parent]
        target[last] = part
    return Tokenizer.from_str(json.dumps(value))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=str(ROOT / "../shared/data"))
    data = pathlib.Path(parser.parse_args().data) / "tokenizers"
    strings = make_strings()

    gpt2 = Tokenizer(models.BPE.from_file(str(data / "gpt2/encoder.json"), str(data / "gpt2/vocab.bpe")))
    gpt2.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    gpt2.decoder = decoders.ByteLevel()
    gpt2.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    small = train_small(strings)
    byte_fallback = train_bytes(strings)
    save(small, "small")
    save(byte_fallback, "bytes")

    ids, decodes = {}, {}
    real = {"gpt2": gpt2, "smollm2-135m": Tokenizer.from_file(str(data / "smollm2-135m/tokenizer.json")), "qwen2": Tokenizer.from_file(str(data / "qwen2/tokenizer.json"))}
    for name, tok in {**real, "small": small, "bytes": byte_fallback}.items():
        ids[name], decodes[name] = goldens(tok, strings, 300)
    bases = {"small": small, "bytes": byte_fallback}
    few = strings[::2]
    for variant in VARIANTS:
        entry, texts = goldens(patched(bases[variant["base"]], variant["patch"]), few, 40)
        ids[variant["name"]] = {key: entry[key] for key in ("hashes", "withSpecialTokens", "vocabSize")}
        decodes[variant["name"]] = texts
    for name, value in {"strings": strings, "ids": ids, "decodes": decodes, "variants": VARIANTS}.items():
        (OUT / f"{name}.json").write_text(json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
