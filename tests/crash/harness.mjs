/**
 * Kills trainings with SIGKILL at random moments, resumes them, and compares what they leave with the uninterrupted
 * run, bit for bit. Knows how runs are started from its variants; `run.mjs` has those of SFT, `rl.mjs` those of RL.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../../dist/base/index.js";
import { openRunStore } from "../../dist/runs/index.js";

const MOST_KILLS = 4;
const children = new Set();

/**
 * Runs the variants in turn. `prepare` is given a directory for what all runs share, and answers the variants:
 * `{ name, fill(project), command(project, runId) }`, where `fill` writes a project's files and `command` is what Node
 * is started with, `runId` being the run to resume.
 */
export async function crashTest({ runs: defaultRuns, prepare }) {
  const { values: options } = parseArgs({
    options: {
      runs: { type: "string", default: String(defaultRuns) },
      seed: { type: "string" },
      keep: { type: "boolean" },
    },
  });
  const seed = Number(options.seed ?? Date.now() % 2 ** 32);
  const random = new Random(seed);
  const work = mkdtempSync(join(tmpdir(), "hone-crash-"));
  process.on("exit", () => {
    for (const child of children) child.kill("SIGKILL");
    if (!options.keep) rmSync(work, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(130));

  console.log(`seed ${seed}${options.keep ? `, files in ${work}` : ""}`);
  const variants = prepare(work);
  const begin = (name, variant) => {
    const project = join(work, name);
    mkdirSync(project);
    variant.fill(project);
    return project;
  };
  const references = [];
  for (const variant of variants) {
    const project = begin(`whole-${references.length}`, variant);
    const started = performance.now();
    const outcome = await train(variant, project, null);
    if (!outcome.finished) fail(`The uninterrupted run (${variant.name}) did not finish`, outcome);
    const milliseconds = performance.now() - started;
    references.push({ milliseconds, left: leftBy(project) });
    const { files, metrics, rollouts } = references.at(-1).left;
    console.log(
      `uninterrupted, ${variant.name}: ${seconds(milliseconds)}, ${files.size} files, ${metrics.length} metrics, ${rollouts.length} rollouts`,
    );
  }

  let differing = 0;
  let kills = 0;
  let resumes = 0;
  const runs = Number(options.runs);
  for (let run = 1; run <= runs; run++) {
    const variant = variants[run % variants.length];
    const { milliseconds, left } = references[run % variants.length];
    const wanted = 1 + random.integer(MOST_KILLS);
    const moments = [];
    let project = begin(`killed-${run}`, variant);
    let span = milliseconds;
    for (let attempts = 0; ; attempts++) {
      if (attempts > 5 * MOST_KILLS) fail(`Run ${run} does not come to an end`);
      const killAfter = moments.length < wanted ? random.uniform() * span : null;
      if (runsOf(project).length > 0) resumes++;
      const outcome = await train(variant, project, killAfter);
      if (outcome.killed) moments.push(killAfter);
      else if (!outcome.finished) {
        fail(`Run ${run} (${variant.name}) failed after ${moments.length} kills`, outcome);
      }
      // A kill in the instant between the last write and the end of the process leaves nothing to resume.
      if (!runsOf(project).some(({ status }) => status === "finished")) continue;
      if (moments.length > 0) break;
      // It ended before its first kill, because the machine is less busy than it was: once more, with earlier kills.
      span /= 2;
      project = begin(`killed-${run}-${attempts}`, variant);
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
}

/** Starts or resumes the project's training; `killAfter` milliseconds later it is killed, if it still runs. */
async function train({ command }, project, killAfter) {
  const [run] = runsOf(project);
  const child = spawn(process.execPath, command(project, run?.id), {
    cwd: project,
    stdio: ["ignore", "pipe", "pipe"],
  });
  children.add(child);
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
  children.delete(child);
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
    return { directory: store.directoryOf(id), metrics, checkpoints, rollouts: rolloutsOf(store, id) };
  });
  if (found === undefined) fail(`${project} has no run store`);
  const { directory, metrics, checkpoints, rollouts } = found;
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
  return { files, metrics, checkpoints, rows, rollouts };
}

/** Every rollout of the run, as it is kept. */
function rolloutsOf(store, id) {
  return [...(store.rollouts?.(id) ?? [])].map((rollout) => JSON.stringify(rollout));
}

function compare(expected, found) {
  const differences = [];
  for (const name of new Set([...expected.files.keys(), ...found.files.keys()])) {
    if (!found.files.has(name)) differences.push(`${name} is missing`);
    else if (!expected.files.has(name)) differences.push(`${name} should not be there`);
    else if (expected.files.get(name) !== found.files.get(name)) differences.push(`${name} differs`);
  }
  for (const part of ["checkpoints", "metrics", "rows", "rollouts"]) {
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
