/** `hone doctor`: whether this machine can train, and how well. Every check does what it says it checks. */
import { mkdtempSync, rmSync, statfsSync, statSync } from "node:fs";
import { availableParallelism, cpus, freemem, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { messageOf, UserError } from "../../base/index.js";
import { createRuntime } from "../../engine/index.js";
import { openRunStore, readProvenance } from "../../runs/index.js";
import { createOutput, formatBytes, type OutputOptions } from "../output.js";

export interface Check {
  readonly name: string;
  /** `warning`: works, but slower or smaller than it could be. */
  readonly status: "ok" | "warning" | "failed";
  readonly detail: string;
}

const MINIMUM_NODE = [20, 19] as const;
const LITTLE_MEMORY_BYTES = 4e9;
const LITTLE_DISK_BYTES = 5e9;

const MARKS: Readonly<Record<Check["status"], string>> = { ok: "ok  ", warning: "note", failed: "FAIL" };

/** @throws UserError after printing, when a check failed. */
export async function doctor(options: OutputOptions): Promise<void> {
  const output = createOutput(options);
  const checks = [
    nodeCheck(process.versions.node),
    coresCheck(),
    memoryCheck(),
    diskCheck(process.cwd()),
    await runtimeCheck(),
    storeCheck(),
    cudaCheck(),
  ];
  const { versions } = readProvenance(process.cwd());
  output.print(`hone-ai ${versions["hone-ai"]} on ${process.platform} ${process.arch}\n`);
  const width = Math.max(...checks.map(({ name }) => name.length));
  for (const check of checks) {
    output.record("check", { ...check });
    output.print(`${MARKS[check.status]}  ${check.name.padEnd(width)}  ${check.detail}`);
  }
  const failed = checks.filter(({ status }) => status === "failed").map(({ name }) => name);
  if (failed.length > 0) {
    throw new UserError(
      `Cannot train on this machine: ${failed.join(", ")} failed, expected every check to pass`,
    );
  }
}

/** Whether `version` is new enough; docs and package.json name the same minimum. */
export function nodeCheck(version: string): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isEnough = major > MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor >= MINIMUM_NODE[1]);
  return {
    name: "Node",
    status: isEnough ? "ok" : "failed",
    detail: isEnough ? version : `${version}, expected ${MINIMUM_NODE.join(".")} or later`,
  };
}

function coresCheck(): Check {
  return {
    name: "cores",
    status: "ok",
    detail: `${availableParallelism()} threads of ${cpus()[0]?.model.trim() ?? "an unnamed processor"}`,
  };
}

function memoryCheck(): Check {
  // A container's limit where there is one; 0 or absurdly large where there is none.
  const limit = process.constrainedMemory();
  const total = limit !== undefined && limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  return {
    name: "memory",
    status: total < LITTLE_MEMORY_BYTES ? "warning" : "ok",
    detail: `${formatBytes(total)}, ${formatBytes(Math.min(freemem(), total))} free${total < LITTLE_MEMORY_BYTES ? "; only small models fit" : ""}`,
  };
}

function diskCheck(directory: string): Check {
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  return {
    name: "disk",
    status: free < LITTLE_DISK_BYTES ? "warning" : "ok",
    detail: `${formatBytes(free)} free here${free < LITTLE_DISK_BYTES ? "; a checkpoint holds weights and two moments, 12 bytes per trained weight" : ""}`,
  };
}

/** `createRuntime` multiplies two matrices on whatever it chooses and compares with numbers known beforehand. */
async function runtimeCheck(): Promise<Check> {
  const name = "onnxruntime";
  try {
    const { lowering, reason } = await createRuntime();
    return { name, status: lowering === "native" ? "ok" : "warning", detail: reason };
  } catch (error) {
    return { name, status: "failed", detail: messageOf(error) };
  }
}

/** Writes and reads a run in a store of its own, and looks whether this directory could have one. */
function storeCheck(): Check {
  const name = "run store";
  if (statSync(".hone", { throwIfNoEntry: false })?.isDirectory() === false)
    return { name, status: "failed", detail: ".hone is a file here, expected a directory or nothing" };
  const directory = mkdtempSync(join(tmpdir(), "hone-doctor-"));
  try {
    const store = openRunStore(directory);
    const run = store.createRun({ method: "doctor", config: {}, seed: 0, versions: {}, dataHashes: {} });
    run.logMetrics(1, { "loss/train": 0.5 });
    run.close("finished");
    const value = store.metrics(run.id)[0]?.value;
    store.close();
    return value === 0.5
      ? { name, status: "ok", detail: "libsql writes and reads" }
      : { name, status: "failed", detail: `libsql read ${value}, expected 0.5` };
  } catch (error) {
    return { name, status: "failed", detail: messageOf(error) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function cudaCheck(): Check {
  return {
    name: "CUDA",
    status: "ok",
    detail: "not used: this build trains on the processor (README, CUDA)",
  };
}
