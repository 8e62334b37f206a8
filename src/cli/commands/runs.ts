/** `hone runs`: what the run store of a project holds. Reads only. */
import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import { messageOf, UserError } from "../../base/index.js";
import {
  hasRunStore,
  openRunStore,
  type RolloutRecord,
  type RunRecord,
  type RunStore,
} from "../../runs/index.js";
import { createOutput, formatBytes, formatTable, type Output, type OutputOptions } from "../output.js";

export interface RunsOptions extends OutputOptions {
  readonly project: string;
}

/** `hone runs list`: one line per run. */
export function listRuns(options: RunsOptions): void {
  const output = createOutput(options);
  if (!hasRunStore(options.project)) {
    output.print(`No runs in ${options.project}`);
    return;
  }
  withStore(options, (store) => {
    const summaries = store.runs().map((run) => summaryOf(store, run));
    for (const summary of summaries) output.record("run", { ...summary });
    const rows = summaries.map(({ id, name, status, step, loss, created }) => [
      id,
      name === id ? "" : name,
      status,
      String(step),
      loss === null ? "" : loss.toFixed(4),
      created.slice(0, 16).replace("T", " "),
    ]);
    output.print(formatTable(["run", "name", "status", "step", "loss", "created (UTC)"], rows));
  });
}

/** `hone runs show ID`: configuration, origin, checkpoints and events. */
export function showRun(id: string, options: RunsOptions): void {
  const output = createOutput(options);
  withStore(options, (store) => {
    const run = store.run(id);
    const { status, step } = summaryOf(store, run);
    const checkpoints = store.checkpoints(id);
    const events = store.events(id);
    output.record("run", { ...run, status, step, directory: store.directoryOf(id), checkpoints, events });
    output.print(
      `${run.id}  ${run.method}  ${status} at step ${step}${run.name === id ? "" : `  "${run.name}"`}`,
    );
    output.print(`directory  ${store.directoryOf(id)}`);
    output.print(`created    ${run.created}, seed ${run.seed}`);
    output.print(`commit     ${run.gitCommit ?? "none (not a git checkout)"}`);
    if (run.modelHash !== null) output.print(`model      ${run.modelHash}`);
    for (const [file, hash] of Object.entries(run.dataHashes)) output.print(`data       ${hash}  ${file}`);
    output.print(`versions   ${list(run.versions)}`);
    output.print("\nconfiguration");
    for (const [key, value] of Object.entries(run.config)) output.print(`  ${key}: ${JSON.stringify(value)}`);
    printCheckpoints(output, store, id);
    if (events.length > 0) output.print("\nevents");
    for (const event of events) {
      output.print(`  ${event.wallTime}  ${event.kind}  ${JSON.stringify(event.detail)}`);
    }
  });
}

/** `hone runs metrics ID`: a table with a row per step. */
export function showMetrics(id: string, options: RunsOptions & { readonly name?: readonly string[] }): void {
  const output = createOutput(options);
  withStore(options, (store) => {
    const wanted = options.name;
    const known = [...new Set(store.metrics(id).map(({ name }) => name))];
    const missing = wanted?.find((name) => !known.includes(name));
    if (missing !== undefined) {
      throw new UserError(
        `Cannot show metric "${missing}" of run "${id}": it was never logged, expected one of ${known.join(", ") || "none: no step is done"}`,
      );
    }
    const metrics = store.metrics(id).filter(({ name }) => wanted?.includes(name) ?? true);
    for (const { step, name, value, isMachine, wallTime } of metrics) {
      output.record("metric", { step, name, value: jsonNumber(value), isMachine, wallTime });
    }
    const names = known.filter((name) => wanted?.includes(name) ?? true);
    const steps = [...new Set(metrics.map(({ step }) => step))];
    const at = new Map(metrics.map(({ step, name, value }) => [`${step} ${name}`, value]));
    const rows = steps.map((step) => [
      String(step),
      ...names.map((name) => {
        const value = at.get(`${step} ${name}`);
        return value === undefined ? "" : String(Number(value.toPrecision(6)));
      }),
    ]);
    output.print(formatTable(["step", ...names], rows));
  });
}

export interface RolloutsOptions extends RunsOptions {
  readonly step?: number;
  readonly task?: string;
  /** Writes everything there, tokens too, one JSON object per line. */
  readonly jsonl?: string;
}

/** `hone runs rollouts ID`: a line per rollout, or all of them in a file. */
export function showRollouts(id: string, options: RolloutsOptions): void {
  const output = createOutput(options);
  withStore(options, (store) => {
    const { step, task, jsonl } = options;
    const rollouts = store.rollouts(id, {
      ...(step === undefined ? {} : { step }),
      ...(task === undefined ? {} : { taskId: task }),
    });
    if (jsonl !== undefined) {
      const count = exportRollouts(rollouts, jsonl);
      output.record("export", { file: jsonl, rollouts: count });
      output.print(`${count} rollouts  ${jsonl}`);
      return;
    }
    const rows: string[][] = [];
    for (const rollout of rollouts) {
      output.record("rollout", { ...rollout });
      if (output.isJson) continue;
      const { reward, isTruncated, spans } = rollout;
      const said = spans.filter(({ source }) => source === "sampled").map(({ text }) => text);
      rows.push([
        String(rollout.step),
        rollout.taskId,
        String(rollout.sample),
        reward === null ? "invalid" : String(Number(reward.toPrecision(4))),
        isTruncated ? "yes" : "",
        rollout.invalid?.reason ?? shortened(said.join(" … ")),
      ]);
    }
    const header = ["step", "task", "sample", "reward", "cut off", "completion"];
    output.print(rows.length === 0 ? `No rollouts of ${id} fit` : formatTable(header, rows));
  });
}

/** Writes aside and renames, so that the file is whole or absent; answers how many there were. */
function exportRollouts(rollouts: Iterable<RolloutRecord>, path: string): number {
  const aside = `${path}.new`;
  let count = 0;
  let file: number;
  try {
    file = openSync(aside, "w");
  } catch (error) {
    throw new UserError(
      `Cannot write rollouts to ${path}: ${messageOf(error)}, expected a file in a directory that can be written to`,
      { cause: error },
    );
  }
  try {
    for (const rollout of rollouts) {
      writeSync(file, `${JSON.stringify(rollout, (_, value: unknown) => jsonValue(value))}\n`);
      count++;
    }
  } finally {
    closeSync(file);
  }
  renameSync(aside, path);
  return count;
}

function shortened(text: string): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= 100 ? line : `${line.slice(0, 99)}…`;
}

function printCheckpoints(output: Output, store: RunStore, id: string): void {
  const kept = store.checkpoints(id).filter(({ isKept }) => isKept);
  output.print(kept.length === 0 ? "\nno checkpoints" : "\ncheckpoints");
  for (const { path, score, sizeBytes, contentHash } of kept) {
    const scored = score === null ? "" : `  validation loss ${score.toFixed(4)}`;
    output.print(`  ${path}  ${formatBytes(sizeBytes)}${scored}  ${contentHash.slice(0, 12)}`);
  }
}

interface RunSummary {
  readonly id: string;
  readonly name: string;
  readonly method: string;
  /** `killed`: the store says running, but no process writes. */
  readonly status: RunRecord["status"] | "killed";
  readonly step: number;
  readonly loss: number | null;
  readonly created: string;
}

function summaryOf(store: RunStore, { id, name, method, status, created }: RunRecord): RunSummary {
  const metrics = store.metrics(id);
  const isKilled = status === "running" && store.writerOf(id) === undefined;
  return {
    id,
    name,
    method,
    status: isKilled ? "killed" : status,
    step: metrics.at(-1)?.step ?? 0,
    loss: metrics.findLast((metric) => metric.name === "loss/train")?.value ?? null,
    created,
  };
}

function withStore(options: RunsOptions, read: (store: RunStore) => void): void {
  if (!hasRunStore(options.project)) {
    throw new UserError(
      `Cannot read runs of ${options.project}: it has no .hone/store.sqlite, expected the directory a run was started in. Name it with --project`,
    );
  }
  const store = openRunStore(options.project);
  try {
    read(store);
  } finally {
    store.close();
  }
}

const jsonNumber = (value: number): number | string => (Number.isFinite(value) ? value : String(value));
const jsonValue = (value: unknown): unknown => (typeof value === "number" ? jsonNumber(value) : value);
const list = (record: Readonly<Record<string, string>>): string =>
  Object.entries(record)
    .map(([name, version]) => `${name} ${version}`)
    .join(", ");
