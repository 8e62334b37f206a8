import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import {
  type ChatMessage,
  type ChatRenderer,
  createChatRenderer,
  loadTokenizer,
  type Span,
  type Tokenizer,
} from "../text/index.js";
import { checkDataset } from "./checks.js";
import { type Dataset, hashRows, type LoadDatasetOptions, loadDataset } from "./dataset.js";
import { previewRows } from "./preview.js";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-tokenize-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

const BOS = 1;
const EOS = 2;
const TURN_END = 3;
const AB = 4;
const SPECIAL: Readonly<Record<number, string>> = { [BOS]: "<s>", [EOS]: "</s>", [TURN_END]: "<|end|>" };
const PIECES: Readonly<Record<string, number>> = { "<s>": BOS, "</s>": EOS, "<|end|>": TURN_END, ab: AB };

/** One token per character (its code), but "ab" is one token: enough to merge across a boundary. */
const tokenizer: Tokenizer = {
  vocabSize: 1 << 16,
  bosId: BOS,
  eosId: EOS,
  hash: "characters",
  encode: (text, { addSpecialTokens = false } = {}) => {
    const ids = addSpecialTokens ? [BOS] : [];
    for (const piece of text.match(/<s>|<\/s>|<\|end\|>|ab|./gsu) ?? []) {
      ids.push(PIECES[piece] ?? piece.codePointAt(0)!);
    }
    return ids;
  },
  decode: (tokens, { skipSpecialTokens = false } = {}) =>
    tokens
      .map((id) =>
        id === AB ? "ab" : id in SPECIAL ? (skipSpecialTokens ? "" : SPECIAL[id]!) : String.fromCodePoint(id),
      )
      .join(""),
};

/** `U:hi<|end|>A:yo<|end|>`; the assistant wrote its words and the end of its turn. */
const renderer: ChatRenderer = {
  render(messages, { addGenerationPrompt = false } = {}) {
    const tokens_T: number[] = [];
    const spans: Span[] = [];
    const add = (source: Span["source"], text: string): void => {
      const start = tokens_T.length;
      tokens_T.push(...tokenizer.encode(text));
      spans.push({ source, start, end: tokens_T.length });
    };
    for (const { role, content } of messages) {
      add("prompt", `${role[0]!.toUpperCase()}:`);
      add(role === "assistant" ? "sampled" : "prompt", `${content}<|end|>`);
    }
    if (addGenerationPrompt) add("prompt", "A:");
    return { tokens_T, spans };
  },
};

async function dataset(
  rows: readonly unknown[],
  options: Partial<LoadDatasetOptions> = {},
): Promise<Dataset> {
  const path = join(directory, "d.jsonl");
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return loadDataset(path, { tokenizer, renderer, ...options });
}

/** The preview without its head line: trained tokens in «…». */
async function marked(row: unknown, options: Partial<LoadDatasetOptions> = {}): Promise<string> {
  const { rows } = await dataset([row], options);
  return previewRows(rows, tokenizer).split("\n").slice(1).join("\n");
}

async function refusal(work: () => unknown): Promise<string> {
  const thrown = await Promise.resolve()
    .then(work)
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as UserError).message.replaceAll(`${directory}/`, "");
}

const chat: readonly ChatMessage[] = [
  { role: "user", content: "hi" },
  { role: "assistant", content: "yo" },
  { role: "user", content: "go" },
  { role: "assistant", content: "no" },
];

describe("the loss mask", () => {
  it("covers a completion and the EOS that is added to it, by hand", async () => {
    const { rows } = await dataset([{ prompt: "q", completion: "xy" }]);
    expect(rows).toHaveLength(1);
    //                                    <s>  q    x    y    </s>
    expect([...rows[0]!.tokens_T]).toEqual([BOS, 113, 120, 121, EOS]);
    expect([...rows[0]!.lossMask_T]).toEqual([0, 0, 1, 1, 1]);
  });

  it("adds no second EOS", async () => {
    expect(await marked({ prompt: "q", completion: "x</s>" })).toBe("<s>q«x</s>»");
  });

  it("covers all of a text but its first token, BOS or not", async () => {
    expect(await marked({ text: "xyz" })).toBe("<s>«xyz</s>»");
    expect(await marked({ text: "xyz" }, { addBos: false })).toBe("x«yz</s>»");
    expect(await marked({ text: "xyz" }, { addEos: false })).toBe("<s>«xyz»");
  });

  it("covers the assistant's turns with their ends", async () => {
    expect(await marked({ messages: chat })).toBe("U:hi<|end|>A:«yo<|end|>»U:go<|end|>A:«no<|end|>»");
    expect(await marked({ messages: chat }, { trainOn: "all" })).toBe(
      "U«:hi<|end|>A:yo<|end|>U:go<|end|>A:no<|end|>»",
    );
  });

  it("of conversational completions leaves the assistant's turns in the prompt out", async () => {
    const row = { prompt: chat.slice(0, 3), completion: chat.slice(3) };
    expect(await marked(row)).toBe("U:hi<|end|>A:yo<|end|>U:go<|end|>A:«no<|end|>»");
    expect(await marked(row, { trainOn: "assistant" })).toBe(
      "U:hi<|end|>A:«yo<|end|>»U:go<|end|>A:«no<|end|>»",
    );
  });

  it("keeps the prompt's ids where joined text would merge them, and counts it", async () => {
    const { rows, statistics } = await dataset([{ prompt: "xa", completion: "by" }]);
    expect([...rows[0]!.tokens_T]).toEqual([BOS, 120, 97, 98, 121, EOS]);
    expect([...rows[0]!.lossMask_T]).toEqual([0, 0, 0, 1, 1, 1]);
    expect(statistics.boundaryMerges).toBe(1);
  });

  it("takes the completion's ids from the joined text, so that no space comes between", async () => {
    // SentencePiece's habit: a text gets a space in front. Tokenised alone, the completion would begin with one.
    const spacing: Tokenizer = {
      ...tokenizer,
      encode: (text, options) => tokenizer.encode(text === "a" ? text : ` ${text}`, options),
    };
    const { rows } = await dataset([{ prompt: "q", completion: "xy" }], { tokenizer: spacing });
    expect(tokenizer.decode([...rows[0]!.tokens_T])).toBe("<s> qxy</s>");
  });
});

describe("truncation", () => {
  const row = { prompt: "qq", completion: "xyz" }; // <s> q q x y z </s>: 7 tokens

  it("keeps the start or the end and counts what is lost", async () => {
    const start = await dataset([row, row], { maxLength: 5 });
    expect(previewRows(start.rows.slice(0, 1), tokenizer)).toBe(
      "Row of line 1: 5 tokens, 2 with a loss\n<s>qq«xy»",
    );
    expect(start.statistics).toMatchObject({
      truncatedRows: 2,
      droppedTokens: 4,
      rowsThatEnd: 0,
      tokens: 10,
    });
    const end = await dataset([row], { maxLength: 4, truncation: "keep_end" });
    // The first token kept has nothing to be predicted from, so it has no loss though it is of the completion.
    expect(previewRows(end.rows, tokenizer)).toBe("Row of line 1: 4 tokens, 3 with a loss\nx«yz</s>»");
  });

  it("refuses a row that is too long, if told to", async () => {
    expect(
      await refusal(() => dataset([{ text: "x" }, row].slice(1), { maxLength: 6, truncation: "refuse" })),
    ).toBe(
      'Cannot use d.jsonl:1: the row has 7 tokens, expected at most maxLength 6. Raise maxLength, or set truncation to "keep_start" or "keep_end"',
    );
    expect((await dataset([row], { maxLength: 7, truncation: "refuse" })).rows).toHaveLength(1);
  });
});

describe("loadDataset()", () => {
  it("counts rows, tokens and lengths", async () => {
    const { statistics, shape, trainOn } = await dataset([
      { prompt: "q", completion: "" }, // 2 tokens, none with a loss
      { prompt: "q", completion: "x" }, // 4 tokens, 2 with a loss
      { prompt: "qqqq", completion: "xx" }, // 8 tokens, 3 with a loss
    ]);
    expect({ shape, trainOn }).toEqual({ shape: "prompt_completion", trainOn: "completions" });
    expect(statistics).toEqual({
      rows: 3,
      tokens: 14,
      supervisedTokens: 5,
      length: { min: 2, median: 4, p95: 7.6, max: 8 },
      truncatedRows: 0,
      droppedTokens: 0,
      unsupervisedRows: { count: 1, example: 1 },
      rowsThatEnd: 2,
      boundaryMerges: 0,
    });
  });

  it("hashes content in order, whatever the line ends and other columns", async () => {
    const [a, b] = [{ text: "one" }, { text: "two" }];
    const hash = (await dataset([a, b])).contentHash;
    expect((await dataset([{ ...a, id: 1 }, b])).contentHash).toBe(hash);
    expect((await dataset([b, a])).contentHash).not.toBe(hash);
    const path = join(directory, "crlf.jsonl");
    writeFileSync(path, `\ufeff${JSON.stringify(a)}\r\n\r\n${JSON.stringify(b)}\r\n`);
    expect((await loadDataset(path, { tokenizer })).contentHash).toBe(hash);
  });

  it("hashes rows by tokens and mask", async () => {
    const all = await dataset([{ prompt: "q", completion: "x" }], { trainOn: "all" });
    const completions = await dataset([{ prompt: "q", completion: "x" }]);
    expect(hashRows(all.rows)).not.toBe(hashRows(completions.rows));
    expect(hashRows(all.rows)).toBe(hashRows([...all.rows]));
  });

  it("reads no further than maxRows", async () => {
    const { statistics } = await dataset([{ text: "a" }, { text: "b" }, { wrong: 1 }], { maxRows: 2 });
    expect(statistics.rows).toBe(2);
  });

  it.each<[string, unknown, Partial<LoadDatasetOptions>, string]>([
    [
      "completions of text",
      { text: "x" },
      { trainOn: "completions" },
      'Cannot train on "completions" of d.jsonl:1: the file has {"text"} rows, expected trainOn "auto" or "all"',
    ],
    [
      "assistant turns of text prompts",
      { prompt: "q", completion: "x" },
      { trainOn: "assistant" },
      'Cannot train on "assistant" of d.jsonl:1: the file has text prompts and completions, expected trainOn "auto" or "completions" or "all"',
    ],
    [
      "messages without a template",
      { messages: chat },
      { renderer: undefined as never },
      "Cannot render the messages of d.jsonl:1: the model has no chat template, expected one in tokenizer_config.json or chat_template.jinja. Add a template, or train on text prompts and completions",
    ],
    [
      "a conversation that the template refuses",
      { messages: chat },
      {
        renderer: {
          render: () => {
            throw new Error("Conversation roles must alternate");
          },
        },
      },
      "Cannot render the messages of d.jsonl:1: Conversation roles must alternate",
    ],
    [
      "EOS without an EOS token",
      { text: "x" },
      { tokenizer: { ...tokenizer, eosId: undefined as never } },
      "Cannot end d.jsonl:1 with EOS: the tokenizer names no eos_token, expected one in tokenizer_config.json. Set data.addEos to false to train without",
    ],
  ])("refuses %s", async (_, row, options, message) => {
    expect(await refusal(() => dataset([row], options))).toBe(message);
  });

  it("refuses an empty file", async () => {
    expect(await refusal(() => dataset([]))).toBe(
      "Cannot read d.jsonl: it has no rows, expected at least one JSON object per line",
    );
  });
});

describe("checkDataset()", () => {
  const good = { prompt: "q", completion: "x" };
  const empty = { prompt: "q", completion: "" };

  it("takes a share of unsupervised rows up to the limit, with a warning, and refuses one above", async () => {
    const atLimit = await dataset([...Array<unknown>(19).fill(good), empty]);
    expect(checkDataset(atLimit).map((text) => text.replaceAll(`${directory}/`, ""))).toEqual([
      "1 of 20 rows (5 %) of d.jsonl have no token to train on and are left out; the first is line 20",
    ]);
    const above = await dataset([...Array<unknown>(18).fill(good), empty]);
    expect(await refusal(() => checkDataset(above))).toBe(
      'Cannot train on d.jsonl: 1 of 19 rows (5.3 %) have no token to train on, expected at most 5 % (data.maxUnsupervisedFraction); the first is d.jsonl:19. With trainOn "completions" only completions are trained on: are they empty?',
    );
    expect(checkDataset(above, { maxUnsupervisedFraction: 0.1 })).toHaveLength(1);
  });

  it("refuses conversations without an assistant", async () => {
    const none = await dataset([{ messages: chat.slice(0, 1) }]);
    expect(await refusal(() => checkDataset(none, { maxUnsupervisedFraction: 1 }))).toBe(
      'Cannot train on d.jsonl: 1 of 1 rows (100 %) have no token to train on, expected at most 100 % (data.maxUnsupervisedFraction); the first is d.jsonl:1. With trainOn "assistant" only messages of role "assistant" are trained on: are there any?',
    );
  });

  it("refuses data that never trains on an end, unless that is allowed", async () => {
    const endless = await dataset([{ text: "xyz" }], { addEos: false });
    expect(await refusal(() => checkDataset(endless))).toBe(
      "Cannot train on d.jsonl: none of 1 rows trains on an end of text or end of turn, expected at least one; a model so trained never stops. Leave data.addEos on, or set data.allowNoEos to true if this is meant",
    );
    expect(checkDataset(endless, { allowNoEos: true })).toEqual([]);
  });

  it("knows a chat model's end of turn, which is another token than EOS", async () => {
    const { statistics } = await dataset([{ messages: chat }]);
    expect(statistics.rowsThatEnd).toBe(1);
  });

  it("says when truncation takes every end away", async () => {
    const cut = await dataset([{ prompt: "q", completion: "xyz" }], { maxLength: 4 });
    expect(await refusal(() => checkDataset(cut))).toContain(
      "a model so trained never stops (1 rows were truncated: a larger maxLength or another truncation may keep what is trained on)",
    );
  });

  it("warns of truncation, of missing ends and of merges at the boundary", async () => {
    const mixed = await dataset(
      [good, { prompt: "xa", completion: "by" }, { prompt: "q", completion: "xxxxxxx" }],
      {
        maxLength: 7,
      },
    );
    expect(checkDataset(mixed).map((text) => text.replaceAll(`${directory}/`, ""))).toEqual([
      "1 of 3 rows (33.3 %) of d.jsonl were truncated and lost 3 tokens",
      "1 of 3 rows (33.3 %) of d.jsonl train on no end of text or end of turn",
      "In 1 of 3 rows (33.3 %) of d.jsonl the end of the prompt and the start of the completion would make one token; they were tokenised apart. Begin completions, not end prompts, with the space",
    ]);
  });
});

describe("previewRows()", () => {
  it("colours trained tokens on a terminal and leaves out the middle of long runs", async () => {
    const { rows } = await dataset([{ prompt: "q".repeat(30), completion: "x" }]);
    expect(previewRows(rows, tokenizer, { colour: true, maxRunCharacters: 10 })).toBe(
      "Row of line 1: 33 tokens, 2 with a loss\n<s>qq … 23 characters … qqqqq\u001b[32mx</s>\u001b[0m",
    );
  });
});

const shared = process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data");
const hasShared = existsSync(join(shared, "gsm8k/train.jsonl"));

describe(`real files${hasShared ? "" : " (skipped: no ../shared/data and no HONE_DATA)"}`, () => {
  it.skipIf(!hasShared)("gsm8k: question and answer become prompt and completion", async () => {
    const gsm8k = await loadDataset(join(shared, "gsm8k/train.jsonl"), {
      tokenizer,
      maxLength: 4096,
      mapping: {
        columns: { completion: "answer" },
        promptTemplate: "Question: {question}\nAnswer: ",
      },
    });
    expect(gsm8k.statistics).toMatchObject({ rows: 7473, rowsThatEnd: 7473, truncatedRows: 0 });
    expect(gsm8k.statistics.unsupervisedRows).toEqual({ count: 0 });
    expect(checkDataset(gsm8k)).toEqual([]);
    const text = tokenizer.decode([...gsm8k.rows[0]!.tokens_T]);
    expect(text.startsWith("<s>Question: Natalia sold clips to 48")).toBe(true);
    expect(text.endsWith("#### 72</s>")).toBe(true);
  });

  // SHA-256 over tokens and masks as transformers 5.18 gives them by TRL 1.13's procedure: the ids of
  // prompt + completion + EOS, with a loss after the ids of the prompt alone. Both files, every row.
  it.skipIf(!hasShared).each([
    [
      "qwen2",
      "21e29797d24f745076eb635687bcd9a2b096f1a1cafb20b411b2758bead92723",
      "a9f41b57173da7471e1b05a798127d37b505ca173e7f0d8d6ba3928856240eac",
    ],
    [
      "smollm2-135m",
      "967d2e0385fd4cff220f8205f54e5820ff184c158a1b65eac798b84b97db9fbc",
      "13debe5b27baabd3f9b4f41b84f50a6b7792b79c5c7c5afd019f1dfbcb568197",
    ],
  ])("%s gives the ids and masks of TRL for all of gsm8k and spider", async (name, gsm8kHash, spiderHash) => {
    const real = loadTokenizer(join(shared, "tokenizers", name));
    const gsm8k = await loadDataset(join(shared, "gsm8k/train.jsonl"), {
      tokenizer: real,
      mapping: { promptTemplate: "Question: {question}\nAnswer:", completionTemplate: " {answer}" },
    });
    expect(hashRows(gsm8k.rows)).toBe(gsm8kHash);
    const spider = await loadDataset(join(shared, "spider/train_pairs.jsonl"), {
      tokenizer: real,
      mapping: { promptTemplate: "-- {db_id}: {question}\n", columns: { completion: "query" } },
    });
    expect(hashRows(spider.rows)).toBe(spiderHash);
    expect(checkDataset(spider)).toEqual([]);
  });

  it.skipIf(!hasShared).each([
    ["qwen2", "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"],
    [
      "smollm2-135m",
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n",
    ],
  ])(
    "%s asks and answers in its own chat template, the answer and its end of turn trained",
    async (name, opening) => {
      const real = loadTokenizer(join(shared, "tokenizers", name));
      const spider = await loadDataset(join(shared, "spider/train_pairs.jsonl"), {
        tokenizer: real,
        renderer: createChatRenderer(join(shared, "tokenizers", name)),
        maxRows: 200,
        mapping: { columns: { prompt: "question", completion: "query" }, asChat: true },
      });
      expect(checkDataset(spider)).toEqual([]);
      expect(previewRows(spider.rows.slice(0, 1), real).split("\n").slice(1).join("\n")).toBe(
        `${opening}<|im_start|>user\nHow many heads of the departments are older than 56 ?<|im_end|>\n<|im_start|>assistant\n«SELECT count(*) FROM head WHERE age  >  56<|im_end|>»\n`,
      );
    },
  );

  it.skipIf(!hasShared)("spider: question and query become prompt and completion", async () => {
    const spider = await loadDataset(join(shared, "spider/train_pairs.jsonl"), {
      tokenizer,
      mapping: { promptTemplate: "-- {db_id}: {question}\n", columns: { completion: "query" } },
    });
    expect(spider.statistics).toMatchObject({ rows: 6725, rowsThatEnd: 6725 });
    expect(tokenizer.decode([...spider.rows[0]!.tokens_T])).toBe(
      "<s>-- department_management: How many heads of the departments are older than 56 ?\nSELECT count(*) FROM head WHERE age  >  56</s>",
    );
  });
});
