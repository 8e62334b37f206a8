/**
 * `npm run test:crash`: trains a small model, kills the training with SIGKILL at random moments, resumes it, and
 * compares what it leaves with the uninterrupted run, bit for bit: weights, optimizer state, every metric.
 *
 * usage: node tests/crash/run.mjs [--runs 20] [--seed N] [--keep]
 * Odd runs train a LoRA adapter, even ones all weights. Exits with 1 when a single byte differs.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../../dist/base/index.js";
import { writeSftJob } from "../../dist/bench/sft-job.js";
import { openRunStore } from "../../dist/runs/index.js";

const HONE = new URL("../../dist/cli/main.js", import.meta.url).pathname;
const MOST_KILLS = 4;
/** Large enough that onnxruntime's threads share the work: races hide in models that one thread computes alone. */
const SHAPE = {
  ...{
    family: "llama",
    hiddenSize: 256,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    ffnWidth: 688,
    vocabularySize: 320,
  },
  ...{ tiedEmbeddings: false, sequences: 16, tokens: 128, loraRank: null },
};
/** Enough that a run spends most of its time training, not starting. */
const STEPS = 60;
const SETTINGS = {
  ...{ maxLength: SHAPE.tokens, batchSize: SHAPE.sequences, epochs: 2, seed: 7 },
  ...{ learningRate: 0.002, schedule: "cosine", warmupSteps: 5, weightDecay: 0.01 },
  ...{ saveEvery: 4, evalEvery: 3, keepCheckpoints: 2 },
};
const VARIANTS = [
  { name: "all weights", settings: {} },
  { name: "LoRA", settings: { lora: { rank: 4 }, gradClipNorm: 0.5 } },
];

const { values: options } = parseArgs({
  options: { runs: { type: "string", default: "20" }, seed: { type: "string" }, keep: { type: "boolean" } },
});
const seed = Number(options.seed ?? Date.now() % 2 ** 32);
const random = new Random(seed);
const work = mkdtempSync(join(tmpdir(), "hone-crash-"));
let child;
process.on("exit", () => {
  child?.kill("SIGKILL");
  if (!options.keep) rmSync(work, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

console.log(`seed ${seed}${options.keep ? `, files in ${work}` : ""}`);
mkdirSync(join(work, "model"));
const job = writeSftJob(join(work, "model"), SHAPE, STEPS / SETTINGS.epochs);
const references = [];
for (const variant of VARIANTS) {
  const project = prepare(`whole-${references.length}`, variant);
  const started = performance.now();
  const outcome = await train(project, null);
  if (!outcome.finished) fail(`The uninterrupted run (${variant.name}) did not finish`, outcome);
  const milliseconds = performance.now() - started;
  references.push({ milliseconds, left: leftBy(project) });
  const { files, metrics } = references.at(-1).left;
  console.log(
    `uninterrupted, ${variant.name}: ${seconds(milliseconds)}, ${files.size} files, ${metrics.length} metrics`,
  );
}

let differing = 0;
let kills = 0;
let resumes = 0;
const runs = Number(options.runs);
for (let run = 1; run <= runs; run++) {
  const variant = VARIANTS[run % VARIANTS.length];
  const { milliseconds, left } = references[run % VARIANTS.length];
  const wanted = 1 + random.integer(MOST_KILLS);
  const moments = [];
  let project = prepare(`killed-${run}`, variant);
  let span = milliseconds;
  for (let attempts = 0; ; attempts++) {
    if (attempts > 5 * MOST_KILLS) fail(`Run ${run} does not come to an end`);
    const killAfter = moments.length < wanted ? random.uniform() * span : null;
    if (runsOf(project).length > 0) resumes++;
    const outcome = await train(project, killAfter);
    if (outcome.killed) moments.push(killAfter);
    else if (!outcome.finished) {
      fail(`Run ${run} (${variant.name}) failed after ${moments.length} kills`, outcome);
    }
    // A kill in the instant between the last write and the end of the process leaves nothing to resume.
    if (!runsOf(project).some(({ status }) => status === "finished")) continue;
    if (moments.length > 0) break;
    // It ended before its first kill, because the machine is less busy than it was: once more, with earlier kills.
    span /= 2;
    project = prepare(`killed-${run}-${attempts}`, variant);
  }
  kills += moments.length;
  const differences = compare(left, leftBy(project));
  if (differences.length > 0) differing++;
  const when = moments.map(seconds).join(", ");
  console.log(
    `run ${String(run).padStart(2)} (${variant.name}) killed after ${when}: ${differences.length === 0 ? "identical" : "DIFFERENT"}`,
  );
  for (const difference of differences.slice(0, 10)) console.log(`    ${difference}`);
  if (!options.keep) rmSync(project, { recursive: true, force: true });
}
console.log(
  `${runs - differing} of ${runs} runs identical to the uninterrupted run, after ${kills} kills and ${resumes} resumes`,
);
process.exitCode = differing === 0 ? 0 : 1;

/** A project directory with its configuration. */
function prepare(name, { settings }) {
  const project = join(work, name);
  mkdirSync(project);
  const data = { train: job.dataFile, validationFraction: 0.1 };
  const config = { model: job.modelDirectory, output: project, data, ...SETTINGS, ...settings };
  // JSON is YAML.
  writeFileSync(join(project, "sft.yaml"), JSON.stringify(config, null, 1));
  return project;
}

/** Starts or resumes the project's training; `killAfter` milliseconds later it is killed, if it still runs. */
async function train(project, killAfter) {
  const [run] = runsOf(project);
  const what = run === undefined ? ["-c", join(project, "sft.yaml")] : ["--resume", run.id];
  child = spawn(process.execPath, [HONE, "train", "sft", ...what], {
    cwd: project,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output = (output + text).slice(-4000);
    });
  }
  const timer = killAfter === null ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfter);
  const [code, signal] = await new Promise((resolve) => {
    child.once("close", (...how) => resolve(how));
  });
  clearTimeout(timer);
  child = undefined;
  return { finished: code === 0, killed: signal === "SIGKILL", code, signal, output };
}

function runsOf(project) {
  return withStore(project, (store) => store.runs()) ?? [];
}

function withStore(project, read) {
  if (!existsSync(join(project, ".hone", "store.sqlite"))) return undefined;
  const store = openRunStore(project);
  try {
    return read(store);
  } finally {
    store.close();
  }
}

/**
 * What a run leaves that must not depend on kills: every file of its kept checkpoints (weights, optimizer state, place
 * in the data) and any other weights, as hashes; every metric but those of the machine, from the store and from
 * metrics.jsonl.
 */
function leftBy(project) {
  const found = withStore(project, (store) => {
    const [{ id, status }, ...others] = store.runs();
    if (others.length > 0 || status !== "finished") {
      fail(`${project} has ${others.length + 1} runs, the first ${status}; expected one that is finished`);
    }
    const metrics = store
      .metrics(id)
      .filter(({ isMachine }) => !isMachine)
      .map(({ entry, step, name, value }) => `${entry} ${step} ${name} ${value}`);
    const checkpoints = store
      .checkpoints(id)
      .map(({ step, score, isKept, contentHash }) => [step, score, isKept, contentHash].join(" "));
    return { directory: store.directoryOf(id), metrics, checkpoints };
  });
  if (found === undefined) fail(`${project} has no run store`);
  const { directory, metrics, checkpoints } = found;
  const files = new Map();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const name = path.slice(directory.length + 1);
    if (!entry.isFile() || !(name.startsWith("checkpoints/") || name.endsWith(".safetensors"))) continue;
    files.set(name, createHash("sha256").update(readFileSync(path)).digest("hex"));
  }
  if (![...files.keys()].some((name) => name.endsWith(".safetensors"))) fail(`${directory} has no weights`);
  const lines = readFileSync(join(directory, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  const rows = lines.map((line) => {
    const { step, metrics } = JSON.parse(line);
    return JSON.stringify({ step, metrics });
  });
  return { files, metrics, checkpoints, rows };
}

function compare(expected, found) {
  const differences = [];
  for (const name of new Set([...expected.files.keys(), ...found.files.keys()])) {
    if (!found.files.has(name)) differences.push(`${name} is missing`);
    else if (!expected.files.has(name)) differences.push(`${name} should not be there`);
    else if (expected.files.get(name) !== found.files.get(name)) differences.push(`${name} differs`);
  }
  for (const part of ["checkpoints", "metrics", "rows"]) {
    const length = Math.max(expected[part].length, found[part].length);
    for (let i = 0; i < length; i++) {
      if (expected[part][i] === found[part][i]) continue;
      differences.push(`${part}: found ${found[part][i]}, expected ${expected[part][i]}`);
    }
  }
  return differences;
}

function seconds(milliseconds) {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

function fail(message, outcome) {
  console.error(
    outcome === undefined
      ? message
      : `${message} (exit ${outcome.code ?? outcome.signal})\n${outcome.output}`,
  );
  process.exit(1);
}
