/** `hone sample` as a user runs it: a process of its own, the real engine, a small model with random weights. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createChatRenderer, loadTokenizer } from "../text/index.js";
import { endTokens } from "./sample-prompts.js";

const MAIN = join(import.meta.dirname, "../../dist/cli/main.js");

let project: string;

interface Exit {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function hone(arguments_: readonly string[], input = ""): Exit {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...arguments_], {
    encoding: "utf8",
    cwd: project,
    input,
  });
  return { code: status, stdout, stderr };
}

interface SampleRecord {
  readonly prompt?: string;
  readonly messages?: readonly { readonly role: string; readonly content: string }[];
  readonly line?: number;
  readonly adapter?: string;
  readonly sample: number;
  readonly text: string;
  readonly tokens: readonly number[];
  readonly stopReason: string;
  readonly logprobs?: readonly number[];
  readonly rawLogprobs?: readonly number[];
}

const recordsOf = (text: string): SampleRecord[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as SampleRecord); // what the command prints, as the docs say

function sampled(...arguments_: string[]): SampleRecord[] {
  const { code, stdout, stderr } = hone(["sample", "model", "--json", "--threads", "1", ...arguments_]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return recordsOf(stdout);
}

beforeAll(() => {
  expect(existsSync(MAIN), "dist/cli/main.js is missing: run `npm run build` first").toBe(true);
  project = mkdtempSync(join(tmpdir(), "hone-sample-"));
  writeFileSync(join(project, "text.txt"), "the cat sat on the mat and the dog sat on the log\n");
  for (const command of [
    ["tokenizer", "train", "text.txt", "-o", "tok", "--vocab-size", "270", "--chat"],
    [
      "init-model",
      "model",
      "--tokenizer",
      "tok",
      "--hidden",
      "32",
      "--layers",
      "1",
      "--heads",
      "2",
      "--context",
      "128",
    ],
  ]) {
    const made = hone(command);
    expect(made.code, made.stderr).toBe(0);
  }
  writeFileSync(
    join(project, "prompts.jsonl"),
    [
      { prompt: "the cat" },
      { messages: [{ role: "user", content: "who sat?" }], note: "other columns do no harm" },
      { prompt: "the dog" },
    ]
      .map((row) => JSON.stringify(row))
      .join("\n\n"),
  );
  writeFileSync(join(project, "prompts.txt"), "the cat\n\nthe dog\r\n");
});

afterAll(() => rmSync(project, { recursive: true, force: true }));

it("a prompt is continued on the terminal, and the text is that of the record", () => {
  const arguments_ = ["--prompt", "the cat", "--max-tokens", "12", "--seed", "5"];
  const [record] = sampled(...arguments_);
  expect(record!.tokens.length).toBeLessThanOrEqual(12);
  const tokenizer = loadTokenizer(join(project, "model"));
  expect(record!.text).toBe(tokenizer.decode(record!.tokens, { skipSpecialTokens: true }));
  expect(hone(["sample", "model", "--threads", "1", ...arguments_])).toEqual({
    code: 0,
    stdout: `the cat${record!.text}\n`,
    stderr: "",
  });
});

it("samples differ from each other and by the seed, and repeat with it", () => {
  // Line p of a file has seed S + p.
  writeFileSync(join(project, "same.txt"), "the\nthe\n");
  const draw = (seed: string) =>
    sampled("--file", "same.txt", "--n", "3", "--max-tokens", "8", "--seed", seed).map(({ tokens }) =>
      tokens.join(),
    );
  const once = draw("1");
  expect(new Set(once).size).toBe(6);
  expect(draw("2").slice(0, 3)).toEqual(once.slice(3));
});

it("every prompt of a file is sampled, in order, each as if it were alone with its seed", () => {
  const options = ["--max-tokens", "6", "--logprobs"];
  const records = sampled("--file", "prompts.jsonl", "--n", "2", "--seed", "10", ...options);
  expect(records.map(({ prompt, line, sample }) => [prompt, line, sample])).toEqual([
    ["the cat", 1, 0],
    ["the cat", 1, 1],
    [undefined, 3, 0],
    [undefined, 3, 1],
    ["the dog", 5, 0],
    ["the dog", 5, 1],
  ]);
  expect(records[2]!.messages).toEqual([{ role: "user", content: "who sat?" }]);
  const alone = sampled("--prompt", "the dog", "--n", "2", "--seed", "12", ...options);
  for (const [i, { tokens, logprobs, rawLogprobs }] of alone.entries()) {
    expect(records[4 + i]!.tokens).toEqual(tokens);
    expect(logprobs!.length).toBe(tokens.length);
    // Nothing is cut off: both logprobs are the model's. Other prompts may change the last bits.
    for (const [t, logprob] of logprobs!.entries()) {
      expect(rawLogprobs![t]).toBeCloseTo(logprob, 6);
      expect(records[4 + i]!.logprobs![t]).toBeCloseTo(logprob, 4);
    }
  }
  const lines = sampled("--file", "prompts.txt", "--max-tokens", "1");
  expect(lines.map(({ prompt, line }) => [prompt, line])).toEqual([
    ["the cat", 1],
    ["the dog", 3],
  ]);
  expect(lines[0]!.logprobs).toBeUndefined();
});

it("options of drawing reach the sampler", () => {
  const logprobs = (...options: string[]) =>
    sampled("--prompt", "the cat", "--max-tokens", "6", "--logprobs", ...options)[0]!;
  const greedy = logprobs("--greedy");
  expect(logprobs("--temperature", "0").tokens).toEqual(greedy.tokens);
  expect(greedy.logprobs).toEqual(greedy.rawLogprobs);
  // One token is left: drawn with certainty, whatever the seed.
  for (const options of [
    ["--top-k", "1"],
    ["--top-p", "0.000001"],
    ["--min-p", "1"],
  ]) {
    const { tokens, logprobs: certain } = logprobs(...options, "--seed", "77");
    expect(tokens).toEqual(greedy.tokens);
    expect(certain!.every((logprob) => Math.abs(logprob) < 1e-9)).toBe(true);
  }
  // Fresh weights say nearly nothing: a penalty makes every token a new one.
  const penalised = logprobs("--greedy", "--repetition-penalty", "1000");
  expect(new Set(penalised.tokens).size).toBe(penalised.tokens.length);
});

it("--beams tells the best beams, best first, at least as likely as greedy decoding", () => {
  const beams = sampled("--prompt", "the", "--beams", "8", "--n", "4", "--max-tokens", "4", "--logprobs");
  const scores = beams.map(
    ({ logprobs, tokens }) => logprobs!.reduce((sum, x) => sum + x, 0) / tokens.length,
  );
  expect(scores.length).toBe(4);
  expect([...scores].sort((a, b) => b - a)).toEqual(scores);
  expect(new Set(beams.map(({ tokens }) => tokens.join())).size).toBe(4);
  const [greedy] = sampled("--prompt", "the", "--greedy", "--max-tokens", "4", "--logprobs");
  const greedyScore = greedy!.logprobs!.reduce((sum, x) => sum + x, 0) / greedy!.tokens.length;
  expect(scores[0]).toBeGreaterThanOrEqual(greedyScore - 1e-6);
  const { stdout } = hone(["sample", "model", "--prompt", "the", "--beams", "8", "--max-tokens", "4"]);
  expect(stdout).toBe(`${beams[0]!.text}\n`);
});

it("a stop text and an end of text end a completion, and are part of it", () => {
  const free = sampled("--prompt", "the", "--max-tokens", "60", "--seed", "2")[0]!;
  expect(free.stopReason).toBe("length");
  // Random bytes are seldom characters: take two that are.
  const stop = /[!-~]{2}/.exec(free.text.slice(8))![0];
  const { text, tokens, stopReason } = sampled(
    ...["--prompt", "the", "--seed", "2", "--stop", "none of it", "--stop", stop],
  )[0]!;
  expect(stopReason).toBe("stop");
  expect(text.indexOf(stop)).toBeGreaterThanOrEqual(0);
  expect(tokens).toEqual(free.tokens.slice(0, tokens.length));
  const tokenizer = loadTokenizer(join(project, "model"));
  expect(tokenizer.decode(tokens.slice(0, -1)).includes(stop)).toBe(false);
});

it("a completion ends with the chat template's end of turn, also where no configuration names it", () => {
  const directory = mkdtempSync(join(project, "base-"));
  const config = JSON.parse(readFileSync(join(project, "tok/tokenizer_config.json"), "utf8"));
  writeFileSync(
    join(directory, "tokenizer_config.json"),
    JSON.stringify({ ...config, eos_token: "<|endoftext|>" }),
  );
  for (const file of ["tokenizer.json", "chat_template.jinja"]) {
    if (existsSync(join(project, "tok", file)))
      writeFileSync(join(directory, file), readFileSync(join(project, "tok", file)));
  }
  const tokenizer = loadTokenizer(directory);
  const endOfTurn = tokenizer.tokenId("<|im_end|>")!;
  expect(tokenizer.eosIds).not.toContain(endOfTurn);
  expect(endTokens(tokenizer, undefined)).toEqual(tokenizer.eosIds);
  expect(endTokens(tokenizer, createChatRenderer(directory, { tokenizer }))).toEqual([
    ...tokenizer.eosIds,
    endOfTurn,
  ]);
});

it("a conversation keeps its history: the second answer is that to all messages before it", () => {
  const options = ["--json", "--threads", "1", "--max-tokens", "6", "--system", "Be brief."];
  const { code, stdout, stderr } = hone(
    ["sample", "model", "--chat", "--seed", "3", ...options],
    "who sat?\n\nand where?\n/new\nwho sat?\n",
  );
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const [first, second, third] = recordsOf(stdout);
  const asked = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "who sat?" },
  ];
  expect(first!.messages).toEqual(asked);
  expect(second!.messages).toEqual([
    ...asked,
    { role: "assistant", content: first!.text },
    { role: "user", content: "and where?" },
  ]);
  expect(third!.messages).toEqual(asked);
  writeFileSync(join(project, "history.jsonl"), JSON.stringify({ messages: second!.messages }));
  const again = sampled("--file", "history.jsonl", "--seed", "4", "--max-tokens", "6");
  expect(again[0]!.tokens).toEqual(second!.tokens);
  const spoken = hone(
    ["sample", "model", "--chat", "--threads", "1", "--max-tokens", "6", "--greedy"],
    "who sat?\n",
  );
  const greedy = sampled("--prompt", "who sat?", "--chat", "--max-tokens", "6", "--greedy")[0]!;
  expect(spoken).toEqual({ code: 0, stdout: `${greedy.text}\n`, stderr: "" });
});

it("several samples or prompts are told apart, and -o writes the records to a new file", () => {
  const many = hone([
    "sample",
    "model",
    "--file",
    "prompts.txt",
    "--n",
    "2",
    "--max-tokens",
    "2",
    "--greedy",
  ]);
  expect(many).toMatchObject({
    code: 2,
    stderr: "Cannot sample: --n is 2 with --greedy, expected 1: every sample would be the same\n",
  });
  const told = hone(["sample", "model", "--file", "prompts.txt", "--n", "2", "--max-tokens", "2"]);
  expect(told.stdout.match(/── .* ──/g)).toEqual([
    "── line 1, sample 1 ──",
    "── line 1, sample 2 ──",
    "── line 3, sample 1 ──",
    "── line 3, sample 2 ──",
  ]);
  const write = [
    "sample",
    "model",
    "--file",
    "prompts.txt",
    "--n",
    "2",
    "--max-tokens",
    "2",
    "-o",
    "out.jsonl",
  ];
  expect(hone(write)).toEqual({ code: 0, stdout: "Wrote 4 samples to out.jsonl\n", stderr: "" });
  const printed = sampled("--file", "prompts.txt", "--n", "2", "--max-tokens", "2");
  const written = recordsOf(readFileSync(join(project, "out.jsonl"), "utf8"));
  expect(printed).toEqual(written.map((record) => ({ type: "sample", ...record })));
  expect(hone(write)).toMatchObject({
    code: 2,
    stderr: "Cannot write samples to out.jsonl: it exists, expected a new file. Name another, or remove it\n",
  });
});

it("--logprobs prints a table of tokens", () => {
  const { stdout } = hone([
    "sample",
    "model",
    "--prompt",
    "the",
    "--max-tokens",
    "2",
    "--logprobs",
    "--threads",
    "1",
    "--seed",
    "1",
  ]);
  const [record] = sampled("--prompt", "the", "--max-tokens", "2", "--logprobs", "--seed", "1");
  const lines = stdout.trimEnd().split("\n").slice(-3);
  expect(lines[0]).toMatch(/^token +text +logprob +raw logprob$/);
  for (const [t, token] of record!.tokens.entries()) {
    expect(lines[1 + t]).toContain(String(token));
    expect(lines[1 + t]).toContain(record!.logprobs![t]!.toFixed(4));
  }
});

it("Ctrl-C ends sampling with 130 and leaves the samples that were finished", async () => {
  // Far more than can be sampled at once: the first are told while others run.
  writeFileSync(join(project, "many.txt"), "the\n".repeat(2000));
  const child = spawn(
    process.execPath,
    [MAIN, "sample", "model", "--file", "many.txt", "--threads", "1", "--max-tokens", "30", "--json"],
    { cwd: project },
  );
  let [stdout, stderr] = ["", ""];
  child.stderr.on("data", (text) => (stderr += text));
  const code = await new Promise((resolve) => {
    child.stdout.on("data", (text) => {
      if (stdout === "") child.kill("SIGINT");
      stdout += text;
    });
    child.on("close", resolve);
  });
  const [, told] = /^Stopped after (\d+) of 2000 prompts\n$/.exec(stderr) ?? [];
  expect({ code, stderr }).toEqual({ code: 130, stderr: `Stopped after ${told} of 2000 prompts\n` });
  const lines = recordsOf(stdout).map(({ line }) => line!);
  expect(lines.length).toBe(Number(told));
  expect(lines).toEqual(lines.map((_, i) => i + 1));
});

it.each([
  [[], "Cannot sample: no prompt is given, expected --prompt TEXT, --file FILE or --chat\n"],
  [
    ["--prompt", "a", "--file", "b"],
    "Cannot sample: both --prompt and --file are given, expected one of them\n",
  ],
  [
    ["--prompt", "a", "--greedy", "--top-p", "0.5"],
    "Cannot sample: --greedy and --top-p are given, expected one of them: --greedy draws nothing at random\n",
  ],
  [
    ["--chat", "--n", "2"],
    "Cannot sample: --n is 2, expected 1 in a conversation. Give --prompt or --file to draw several samples\n",
  ],
  [
    ["--prompt", "a", "--system", "b"],
    "Cannot sample: --system is given without --chat, expected both: only a chat has a system's message\n",
  ],
  [
    ["--prompt", "a", "--adapter", "x/one", "--adapter", "one=y"],
    'Cannot sample: two adapters are called "one", expected names of their own. Give them as name=FOLDER\n',
  ],
  [
    ["--prompt", "a", "--beams", "2", "--n", "3"],
    "Cannot sample: --n is 3 and --beams is 2, expected at most as many samples as beams\n",
  ],
  [
    ["--prompt", "a", "--beams", "2", "--stop", "b"],
    "Cannot sample: --beams and --stop are given, expected one of them: beams end with tokens, before there is text\n",
  ],
  [["--file", "none.txt"], "Cannot read none.txt: there is no such file, expected a file of text\n"],
  [
    ["--file", "wrong.jsonl"],
    'Cannot sample from wrong.jsonl:1: the row\'s columns are "question", expected "prompt" with text or "messages" with {"role", "content"} objects\n',
  ],
  [["--file", "empty.txt"], "Cannot sample from empty.txt: it has no prompts, expected at least one\n"],
  [
    ["--prompt", "a", "--max-tokens", "500"],
    "Cannot sample: the prompt's 1 tokens and maxTokens 500 make 501, expected at most the model's 128 positions. Lower maxTokens to 127, or leave it out\n",
  ],
  [
    ["--prompt", "a", "--top-p", "1.5"],
    "error: option '--top-p <x>' argument '1.5' is invalid. Expected a number above 0 and at most 1.\n",
  ],
  [
    ["--prompt", "a", "--temperature", "warm"],
    "error: option '--temperature <x>' argument 'warm' is invalid. Expected a number of at least 0.\n",
  ],
])("a mistake exits with 2 and one message: hone sample model %j", (arguments_, message) => {
  writeFileSync(join(project, "wrong.jsonl"), '{"question": "who?"}\n');
  writeFileSync(join(project, "empty.txt"), "\n\n");
  expect(hone(["sample", "model", ...arguments_])).toEqual({ code: 2, stdout: "", stderr: message });
});
