/** The command as a user runs it: a process of its own, its output and its exit code. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { mean, standardDeviation } from "../base/index.js";
import { openRunStore } from "../runs/index.js";
import { openSafetensors, sizeOf } from "../tensor/index.js";
import { loadTokenizer } from "../text/index.js";

const MAIN = join(import.meta.dirname, "../../dist/cli/main.js");

beforeAll(() => {
  expect(existsSync(MAIN), "dist/cli/main.js is missing: run `npm run build` first").toBe(true);
});

interface Exit {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function hone(arguments_: readonly string[], cwd: string = tmpdir()): Exit {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...arguments_], {
    encoding: "utf8",
    cwd,
  });
  return { code: status, stdout, stderr };
}

const project = (): string => mkdtempSync(join(tmpdir(), "hone-cli-"));

function projectWithRun(): string {
  const directory = project();
  const store = openRunStore(directory, { now: () => new Date("2026-11-20T10:00:00Z") });
  const spec = { method: "sft", config: { model: "tiny" }, seed: 7, versions: {}, dataHashes: {} };
  const run = store.createRun({ ...spec, name: "first try" });
  run.logMetrics(1, { "loss/train": 2.5, "optimizer/grad_norm": 1 }, { "tokens/per_second": 900 });
  run.logMetrics(2, { "loss/train": 1.25 });
  run.close("finished");
  store.close();
  return directory;
}

it("hone --help lists the commands and answers in under 0.2 s", () => {
  const help = hone(["--help"]);
  expect(help.code).toBe(0);
  expect(help.stdout).toContain("Usage: hone [options] [command]");
  for (const command of ["init-model", "tokenizer", "convert", "train", "runs", "sample", "doctor"])
    expect(help.stdout).toContain(`\n  ${command} `);
  // Processor time, the least of several runs: other tests use the same cores, so the clock on the wall says little.
  const report =
    "process.on('exit', () => { const { user, system } = process.cpuUsage(); process.stderr.write(String(user + system)); })";
  const runs = Array.from({ length: 5 }, () =>
    spawnSync(process.execPath, ["--import", `data:text/javascript,${report}`, MAIN, "--help"], {
      encoding: "utf8",
    }),
  );
  const milliseconds = Math.min(...runs.map(({ stderr }) => Number(stderr) / 1000));
  expect(milliseconds).toBeGreaterThan(1);
  expect(milliseconds).toBeLessThan(200);
});

it("an unknown command or option exits with 2 and suggests the one that was meant", () => {
  expect(hone(["rnus"])).toEqual({
    code: 2,
    stdout: "",
    stderr: "error: unknown command 'rnus'\n(Did you mean runs?)\n",
  });
  expect(hone(["runs", "list", "--projet", "x"])).toMatchObject({
    code: 2,
    stderr: "error: unknown option '--projet'\n(Did you mean --project?)\n",
  });
});

it("a user's mistake prints the message alone and exits with 2", () => {
  const directory = project();
  expect(hone(["runs", "show", "sft-1"], directory)).toEqual({
    code: 2,
    stdout: "",
    stderr: `Cannot read runs of ${directory}: it has no .hone/store.sqlite, expected the directory a run was started in. Name it with --project\n`,
  });
  expect(readdirSync(directory)).toEqual([]);
});

it("hone runs lists runs as a table, and as lines of JSON with --json", () => {
  const directory = projectWithRun();
  const table = hone(["runs"], directory);
  expect(table.stdout.split("\n")).toEqual([
    "run    name       status    step    loss  created (UTC)",
    "sft-1  first try  finished     2  1.2500  2026-11-20 10:00",
    "",
  ]);
  const json = hone(["runs", "list", "--json", "--project", directory]);
  expect(JSON.parse(json.stdout)).toEqual({
    type: "run",
    id: "sft-1",
    name: "first try",
    method: "sft",
    status: "finished",
    step: 2,
    loss: 1.25,
    created: "2026-11-20T10:00:00.000Z",
  });
});

it("hone runs calls a run killed when no process writes to it any more", () => {
  const directory = project();
  const script = `
    const { openRunStore } = await import(${JSON.stringify(join(import.meta.dirname, "../../dist/runs/index.js"))});
    const run = openRunStore(${JSON.stringify(directory)}).createRun({ method: "sft", config: {}, seed: 1, versions: {}, dataHashes: {} });
    run.logMetrics(3, { "loss/train": 1 });
    process.kill(process.pid, "SIGKILL");`;
  const { signal } = spawnSync(process.execPath, ["--input-type=module", "-e", script]);
  expect(signal).toBe("SIGKILL");
  expect(hone(["runs"], directory).stdout).toMatch(/^sft-1 +killed +3 +1\.0000/m);
});

it("hone runs metrics shows a row per step and refuses a metric that was never logged", () => {
  const directory = projectWithRun();
  expect(hone(["runs", "metrics", "sft-1"], directory).stdout.split("\n")).toEqual([
    "step  loss/train  optimizer/grad_norm  tokens/per_second",
    "   1         2.5                    1                900",
    "   2        1.25",
    "",
  ]);
  expect(hone(["runs", "metrics", "sft-1", "--name", "loss/nll"], directory)).toMatchObject({
    code: 2,
    stderr:
      'Cannot show metric "loss/nll" of run "sft-1": it was never logged, expected one of loss/train, optimizer/grad_norm, tokens/per_second\n',
  });
});

it("hone tokenizer train writes a tokenizer that loads, and never over files that are there", () => {
  const directory = project();
  const rows = ["the cat sat on the mat", "the dog sat on the log"].map((text) => ({ question: text }));
  writeFileSync(join(directory, "rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
  const train = ["tokenizer", "train", "rows.jsonl", "-o", "tok", "--vocab-size", "265"];
  expect(hone([...train, "--field", "question", "--chat"], directory)).toEqual({
    code: 0,
    stdout: "Wrote a tokenizer of 265 tokens to tok\n",
    stderr: "",
  });
  const tokenizer = loadTokenizer(join(directory, "tok"));
  const ids = tokenizer.encode("the mat<|im_end|>");
  expect(tokenizer.decode(ids)).toBe("the mat<|im_end|>");
  expect(ids.at(-1)).toBe(tokenizer.eosId);
  expect(ids.length).toBeLessThan("the mat".length);
  expect(hone([...train, "--field", "question"], directory)).toMatchObject({
    code: 2,
    stderr: "Cannot write tokenizer to tok: it already has files, expected a new or empty directory\n",
  });
});

it("hone tokenizer train names file, line and columns where a row has no text", () => {
  const directory = project();
  writeFileSync(join(directory, "rows.jsonl"), '{"question":"a","answer":"b"}\n{"question":"a"}\n');
  const train = (field: string[]) =>
    hone(["tokenizer", "train", "rows.jsonl", "-o", "tok", "--vocab-size", "300", ...field], directory);
  expect(train([]).stderr).toBe(
    'Cannot read texts of rows.jsonl:1: the row has none of text, prompt, completion, messages, expected some of the row\'s columns ("question", "answer"). Name them with --field\n',
  );
  expect(train(["--field", "question,answer"]).stderr).toBe(
    'Cannot read texts of rows.jsonl:2: field "answer" holds no text, expected some of the row\'s columns ("question"). Name them with --field\n',
  );
  mkdirSync(join(directory, "tok"));
  expect(train(["--vocab-size", "3x"])).toMatchObject({
    code: 2,
    stderr:
      "error: option '--vocab-size <n>' argument '3x' is invalid. Expected a whole number of at least 1.\n",
  });
  expect(readdirSync(join(directory, "tok"))).toEqual([]);
});

function tokenizerIn(directory: string): void {
  writeFileSync(join(directory, "text.txt"), "the cat sat on the mat\nthe dog sat on the log\n");
  const made = hone(["tokenizer", "train", "text.txt", "-o", "tok", "--vocab-size", "260"], directory);
  expect(made.code, made.stderr).toBe(0);
}

function readTensor(directory: string, name: string): Float32Array {
  const file = openSafetensors(directory);
  const values = new Float32Array(sizeOf(file.tensors.get(name)!.shape));
  file.readInto(name, values);
  file.close();
  return values;
}

it("hone init-model writes fresh weights that the seed alone decides, with the tokenizer's files beside", () => {
  const directory = project();
  tokenizerIn(directory);
  const init = (target: string, ...more: string[]) =>
    hone(["init-model", target, "--tokenizer", "tok", "--hidden", "64", "--layers", "2", ...more], directory);
  expect(init("a", "--kv-heads", "2", "--family", "qwen3")).toEqual({
    code: 0,
    // 2 · 260 · 64 embedding and head; a layer: 64·(64+32+32+64) attention, 3·64·192 feed-forward (8/3 · 64 up to
    // 192), 2 · 64 norms, 2 · 16 query and key norms; 64 final norm: 33280 + 2 · (12288 + 36864 + 128 + 32) + 64.
    stdout: "Wrote a fresh qwen3 of 131,968 parameters (528 kB) to a\n",
    stderr: "",
  });
  expect(JSON.parse(readFileSync(join(directory, "a/config.json"), "utf8"))).toMatchObject({
    model_type: "qwen3",
    vocab_size: 260,
    num_key_value_heads: 2,
    eos_token_id: 0,
  });
  const up = readTensor(join(directory, "a"), "model.layers.1.mlp.up_proj.weight");
  // 12,288 draws: the mean's standard error is 0.02/√12288 = 0.00018, the deviation's 0.00013.
  expect(Math.abs(mean(up))).toBeLessThan(0.001);
  expect(Math.abs(standardDeviation(up) - 0.02)).toBeLessThan(0.001);
  expect(new Set(readTensor(join(directory, "a"), "model.norm.weight"))).toEqual(new Set([1]));
  expect(loadTokenizer(join(directory, "a")).hash).toBe(loadTokenizer(join(directory, "tok")).hash);

  init("b", "--kv-heads", "2", "--family", "qwen3");
  init("c", "--kv-heads", "2", "--family", "qwen3", "--seed", "43");
  const weights = (target: string) => readFileSync(join(directory, target, "model.safetensors"));
  expect(weights("b").equals(weights("a"))).toBe(true);
  expect(weights("c").equals(weights("a"))).toBe(false);
});

it("hone init-model refuses sizes that make no model, and leaves nothing", () => {
  const directory = project();
  tokenizerIn(directory);
  const init = (...more: string[]) => hone(["init-model", "m", "--tokenizer", "tok", ...more], directory);
  expect(init("--hidden", "65")).toMatchObject({
    code: 2,
    stderr:
      "Cannot make model: hidden size 65 is no multiple of 4 heads, expected one. Set --hidden or --heads\n",
  });
  expect(init("--kv-heads", "3").stderr).toBe(
    "Cannot read model config made from the options: num_attention_heads 4 is no multiple of num_key_value_heads 3\n",
  );
  expect(init("--family", "gpt2").stderr).toContain("Allowed choices are llama, mistral, qwen2, qwen3.");
  expect(existsSync(join(directory, "m"))).toBe(false);
});

it("a failure that is nobody's mistake exits with 3, with the stack and where to report it", () => {
  const directory = project();
  mkdirSync(join(directory, ".hone/store.sqlite"), { recursive: true });
  const { code, stderr } = hone(["runs"], directory);
  expect(code).toBe(3);
  expect(stderr).toMatch(/^Hone failed: .*\n\n(.*\n)*? {4}at .*\n/);
  expect(stderr).toContain("This is a bug in Hone. Please report");
});

it("every command's help is at hand", () => {
  for (const command of [["runs"], ["runs", "metrics"], ["tokenizer", "train"]]) {
    const { code, stdout } = hone([...command, "--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: hone ${command.join(" ")}`);
  }
  expect(hone(["--version"]).stdout.trim()).toBe(
    JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")).version,
  );
});

const DATA = process.env["HONE_DATA"] ?? join(import.meta.dirname, "../../../shared/data");
const STORIES = join(DATA, "stories260k");

it.skipIf(!existsSync(STORIES))(
  "hone convert and hone sample give the published greedy sample of stories260K (skipped where HONE_DATA has no stories260k)",
  () => {
    const directory = project();
    const tokenizer = join(STORIES, "tok512.bin");
    const converted = hone(
      ["convert", join(STORIES, "stories260K.bin"), "model", "--tokenizer", tokenizer],
      directory,
    );
    expect(converted).toEqual({
      code: 0,
      stdout: "Wrote a llama of 5 layers of width 64 to model\n",
      stderr: "",
    });
    // The ids that transformers gives with the same tokenizer.json, byte fallback and doubled spaces included.
    expect(
      loadTokenizer(join(directory, "model")).encode("Hello, wörld! 🎉  two  spaces\nline", {
        addSpecialTokens: true,
      }),
    ).toEqual([
      ...[1, 346, 306, 414, 432, 263, 198, 185, 420, 341, 443, 410, 243, 162, 145, 140, 410, 259, 424, 414],
      ...[410, 262, 427, 412, 331, 419, 13, 421, 271, 411],
    ]);
    const published = readFileSync(join(STORIES, "stories260K.md"), "utf8");
    const sample = /-t 0\.0\n(Once upon a time[\s\S]*?)\n*```/.exec(published)![1]!.trim();
    const { stdout } = hone(
      ["sample", "model", "--prompt", "", "--greedy", "--max-tokens", "256"],
      directory,
    );
    expect(sample.length).toBeGreaterThan(300);
    expect(stdout.slice(0, sample.length)).toBe(sample);
  },
);

it("hone convert names what is wrong with a checkpoint or a tokenizer, and leaves nothing", () => {
  const directory = project();
  expect(hone(["convert", "none.bin", "m"], directory)).toMatchObject({
    code: 2,
    stderr:
      "Cannot convert none.bin: there is no such file, expected a llama2.c checkpoint (.bin) or a GGUF file (.gguf)\n",
  });
  expect(hone(["convert", ".", "m"], directory).stderr).toContain(
    "Cannot convert .: it is no file, expected",
  );
  // dim 4, hidden_dim 4, one layer, one head, vocabulary 2, context 1: 4·(8 + 4 + 64 + 4 + 48 + 4) + 4·(2 + 2) bytes.
  const header = Int32Array.from([4, 4, 1, 1, 1, 2, 1]);
  const weights = new Float32Array(8 + 4 + 4 * 16 + 4 + 3 * 16 + 4 + 4).fill(0.5);
  writeFileSync(join(directory, "a.bin"), Buffer.concat([header, weights].map((a) => Buffer.from(a.buffer))));
  writeFileSync(join(directory, "tok.bin"), Buffer.from([9, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 65]));
  expect(hone(["convert", "a.bin", "m", "--tokenizer", "tok.bin"], directory)).toMatchObject({
    code: 2,
    stderr:
      "Cannot read llama2.c tokenizer tok.bin at byte 4: token 0 of 2 has length 100, expected at most the 1 bytes that are left\n",
  });
  expect(existsSync(join(directory, "m"))).toBe(false);
  expect(hone(["convert", "a.bin", "tok.bin"], directory)).toMatchObject({
    code: 2,
    stderr: "Cannot write model to tok.bin: it is a file, expected a new or empty directory\n",
  });
  expect(hone(["convert", "a.bin", "m"], directory).stdout).toBe(
    "Wrote a llama of 1 layers of width 4 to m\nThe model has no tokenizer yet: name one with --tokenizer, or copy tokenizer.json into it\n",
  );
});

it("hone doctor multiplies, writes and reads before it says that this machine can train", () => {
  const { code, stdout } = hone(["doctor", "--json"]);
  const checks = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(code).toBe(0);
  expect(checks.map(({ name }) => name)).toEqual([
    ...["Node", "cores", "memory", "disk", "onnxruntime", "run store", "CUDA"],
  ]);
  expect(checks.filter(({ status }) => status === "failed")).toEqual([]);
  expect(checks.find(({ name }) => name === "onnxruntime").detail).toMatch(
    /^(own kernels: self-test passed|stock (operators|binding): .+)$/,
  );
});
