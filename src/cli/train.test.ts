/** `hone train sft` from files to a model that has learned them: processes of their own, the real engine. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, it } from "vitest";
import { openRunStore } from "../runs/index.js";

const MAIN = join(import.meta.dirname, "../../dist/cli/main.js");
const SENTENCE = "the cat sat on the mat and the dog sat on the log";

let project: string;

interface Exit {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function hone(...arguments_: string[]): Exit {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...arguments_], {
    encoding: "utf8",
    cwd: project,
  });
  return { code: status, stdout, stderr };
}

/** Runs until `stop` matches what was printed, then presses Ctrl-C. */
function honeInterrupted(stop: RegExp, ...arguments_: string[]): Promise<Exit> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...arguments_], { cwd: project });
    let stdout = "";
    let stderr = "";
    let isStopped = false;
    child.stdout.on("data", (text) => {
      stdout += text;
      if (isStopped || !stop.test(stdout)) return;
      isStopped = true;
      child.kill("SIGINT");
    });
    child.stderr.on("data", (text) => (stderr += text));
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** Content hashes of the latest checkpoint and all metrics that must repeat. */
function outcome(run: string) {
  const store = openRunStore(project);
  const metrics = store
    .metrics(run)
    .filter(({ isMachine }) => !isMachine)
    .map(({ step, name, value }) => [step, name, value]);
  const latest = store.checkpoints(run).findLast(({ isKept }) => isKept);
  const { status } = store.run(run);
  store.close();
  return { status, metrics, latest: [latest?.step, latest?.contentHash] };
}

beforeAll(() => {
  expect(existsSync(MAIN), "dist/cli/main.js is missing: run `npm run build` first").toBe(true);
  project = mkdtempSync(join(tmpdir(), "hone-train-"));
  const rows = [`${SENTENCE}.`, `${SENTENCE}, said the frog.`].map((text) => ({ text }));
  writeFileSync(join(project, "rows.jsonl"), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  const config = {
    ...{
      model: "model",
      data: { train: "rows.jsonl" },
      batchSize: 2,
      maxSteps: 200,
      epochs: 200,
      threads: 1,
    },
    ...{ learningRate: 0.01, schedule: "constant", saveEvery: 100, evalEvery: 0, seed: 3 },
  };
  writeFileSync(join(project, "sft.yaml"), JSON.stringify(config, null, 1)); // JSON is YAML
  for (const command of [
    ["tokenizer", "train", "rows.jsonl", "-o", "tok", "--vocab-size", "264"],
    ["init-model", "model", "--tokenizer", "tok", "--hidden", "32", "--layers", "1", "--heads", "2"],
  ]) {
    const made = hone(...command);
    expect(made.code, made.stderr).toBe(0);
  }
});

it("hone train sft shows the rows, trains, leaves a model, and the model says what it was taught", () => {
  const { code, stdout, stderr } = hone("train", "sft", "-c", "sft.yaml");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  // No BOS: nothing comes before the first token, so nothing predicts it.
  expect(stdout).toContain(`the«${SENTENCE.slice(3)}.<|endoftext|>»`);
  expect(stdout).toMatch(/200 steps of 2 rows; about \d+ MB of memory/);
  expect(stdout).toMatch(/step 200\/200 {2}loss [\d.]+ {2}[\d,]+ tokens\/s {2}0 s left/);
  expect(stdout).toContain("The model is in runs/sft-1/model");

  const store = openRunStore(project);
  const losses = store.metrics("sft-1").filter(({ name }) => name === "loss/train");
  expect(losses.map(({ step }) => step)).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  // Fresh weights guess evenly among 264 tokens: ln 264 = 5.576.
  expect(Math.abs(losses[0]!.value - Math.log(264))).toBeLessThan(0.1);
  expect(losses.at(-1)!.value).toBeLessThan(0.5);
  expect(store.run("sft-1")).toMatchObject({ status: "finished", seed: 3, config: { batchSize: 2 } });
  expect(Object.keys(store.run("sft-1").dataHashes)).toEqual([join(project, "rows.jsonl")]);
  expect(store.run("sft-1").modelHash).toMatch(/^[0-9a-f]{64}$/);
  store.close();
  expect(readdirSync(join(project, "runs/sft-1")).filter((name) => !name.includes("tfevents"))).toEqual([
    "checkpoints",
    "config.resolved.yaml",
    "metrics.jsonl",
    "model",
  ]);

  const said = hone("sample", "runs/sft-1/model", "--prompt", "the cat", "--greedy", "--json");
  const { text, stopReason } = JSON.parse(said.stdout);
  expect(text).toMatch(new RegExp(`^${SENTENCE.slice("the cat".length)}(\\.|, said the frog\\.)$`));
  expect(stopReason).toBe("stop");
});

it("Ctrl-C stops after the step, says how to resume, and the resumed run ends as the uninterrupted one", async () => {
  const whole = outcome("sft-1");
  const stopped = await honeInterrupted(/step 10\//, "train", "sft", "-c", "sft.yaml");
  expect(stopped.code).toBe(130);
  expect(stopped.stdout).toContain("Stopping after this step. Press Ctrl-C again to end at once");
  const step = Number(/^Stopped after step (\d+) of 200/.exec(stopped.stderr)![1]);
  expect(stopped.stderr).toBe(
    `Stopped after step ${step} of 200, with a checkpoint. Resume with: hone train sft --resume sft-2\n`,
  );
  expect(outcome("sft-2")).toMatchObject({ status: "interrupted", latest: [step, expect.any(String)] });
  const resumed = hone("train", "sft", "--resume", "sft-2");
  expect({ code: resumed.code, stderr: resumed.stderr }).toEqual({ code: 0, stderr: "" });
  expect(outcome("sft-2")).toEqual(whole);
});

it("hone train sft --json prints one object per line and nothing else", () => {
  const { code, stdout } = hone(
    "train",
    "sft",
    "-c",
    "sft.yaml",
    "--json",
    "--set",
    "maxSteps=3",
    "--set",
    "lora={}",
  );
  expect(code).toBe(0);
  const records = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(records.map(({ type }) => type)).toEqual([
    ...["data", "engine", "run", "start", "step", "step", "step", "checkpoint", "export", "end"],
  ]);
  expect(records.at(-1)).toMatchObject({ id: "sft-3", status: "finished", step: 3, totalSteps: 3 });
  expect(existsSync(join(project, "runs/sft-3/adapter/adapter_config.json"))).toBe(true);
});

it("hone train sft --dry-run shows the loss before training and writes nothing", () => {
  const before = readdirSync(join(project, "runs"));
  const { code, stdout } = hone("train", "sft", "-c", "sft.yaml", "--dry-run");
  expect(code).toBe(0);
  expect(stdout).toMatch(/loss now +5\.\d{4} nats per token \(guessing evenly: 5\.5759\)/);
  expect(readdirSync(join(project, "runs"))).toEqual(before);
});

it("hone train sft refuses what cannot be trained before it starts, with exit code 2", () => {
  const refused = (...more: string[]) => {
    const { code, stderr, stdout } = hone("train", "sft", ...more);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    return stderr;
  };
  expect(refused()).toBe(
    "Cannot train: expected either a configuration (-c sft.yaml) or a stopped run (--resume sft-1)\n",
  );
  expect(refused("--resume", "sft-1")).toBe(
    'Cannot resume run "sft-1": it is finished, expected one that was stopped\n',
  );
  expect(refused("--resume", "sft-2", "--set", "epochs=2")).toBe(
    "Cannot resume with --set or --dry-run: a run goes on exactly as it began. Start a new run with -c\n",
  );
  expect(refused("-c", "sft.yaml", "--set", "learningRte=1")).toMatch(
    /^Cannot read sft\.yaml with --set learningRte=1:\d+:\d+: unknown key "learningRte"\. Did you mean "learningRate"\?\n$/,
  );
  expect(refused("-c", "sft.yaml", "--set", "epochs")).toBe(
    'Cannot set "epochs": it is no assignment, expected key=value such as lora.rank=8\n',
  );
  expect(refused("-c", "sft.yaml", "--set", "model=nowhere")).toMatch(/^Cannot load tokenizer .*nowhere: /);
});

it("a damaged checkpoint is named and the remedy works", async () => {
  const stopped = await honeInterrupted(
    /step 120\//,
    "train",
    "sft",
    "-c",
    "sft.yaml",
    "--set",
    "keepCheckpoints=2",
  );
  expect(stopped.code).toBe(130);
  const checkpoints = join(project, "runs/sft-4/checkpoints");
  const latest = join(checkpoints, readdirSync(checkpoints).sort().at(-1)!);
  const weights = join(latest, "state/model.safetensors");
  const bytes = readFileSync(weights);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(weights, bytes);
  expect(hone("train", "sft", "--resume", "sft-4")).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(
      /^Cannot load checkpoint .*: state\/model\.safetensors is damaged: its SHA-256 is [0-9a-f]{12}…, expected [0-9a-f]{12}…\. Remove the directory to go on from the checkpoint before it\n$/,
    ),
  });
  spawnSync("rm", ["-r", latest]);
  expect(hone("train", "sft", "--resume", "sft-4").code).toBe(0);
  expect(outcome("sft-4").latest).toEqual(outcome("sft-1").latest);
});
