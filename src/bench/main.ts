/** `npm run bench -- NAME`: runs one benchmark, prints a table and, as the last line, one JSON object. */
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { messageOf, UserError } from "../base/index.js";
import { createRuntime } from "../engine/index.js";
import type { BenchContext } from "./bench-context.js";
import { openTrainer } from "./engine-side.js";
import { machineName } from "./machine.js";
import { measureMemoryCase, memoryBench } from "./memory.js";
import { peerPython } from "./python-peer.js";
import { type BenchResult, reportJson, reportTable } from "./report.js";
import { rlBench } from "./rl.js";
import { trainBench } from "./train.js";

const ENTRY = fileURLToPath(import.meta.url);

const BENCHES: Readonly<Record<string, (context: BenchContext) => Promise<BenchResult[]>>> = {
  train: trainBench,
  rl: rlBench,
  memory: (context) => memoryBench(context, ENTRY),
};

try {
  await main(process.argv.slice(2));
  // Peers and engines are closed; a thread of a native library must not keep the process.
  process.exit(0);
} catch (thrown) {
  console.error(thrown instanceof UserError ? thrown.message : thrown);
  process.exit(thrown instanceof UserError ? 2 : 3);
}

async function main(commandLine: readonly string[]): Promise<void> {
  const { name, memoryCase, context } = parsed(commandLine);
  if (memoryCase !== null) {
    console.log(JSON.stringify(await measureMemoryCase(context, memoryCase)));
    return;
  }
  const bench = BENCHES[name];
  if (bench === undefined) {
    throw new UserError(
      `Cannot run benchmark "${name}": there is no such one, expected ${Object.keys(BENCHES).join(" or ")}`,
    );
  }
  if (context.python === null) context.note("HONE_PEER_PYTHON is not set: measuring our side alone");
  const report = { bench: name, machine: machineName(), results: await bench(context) };
  console.log(reportTable(report));
  console.log(reportJson(report));
}

function parsed(commandLine: readonly string[]): {
  readonly name: string;
  readonly memoryCase: string | null;
  readonly context: BenchContext;
} {
  const { values, positionals } = readOptions(commandLine);
  const threads =
    values.threads === undefined ? availableParallelism() : wholeNumber("threads", values.threads);
  return {
    name: positionals[0] ?? "",
    memoryCase: values.case ?? null,
    context: {
      threads,
      python: peerPython(),
      only: values.only?.split(",") ?? null,
      repeats: values.repeats === undefined ? null : wholeNumber("repeats", values.repeats),
      openTrainer: (shape, options = {}) => openTrainer(shape, options, threads),
      openRuntime: () => createRuntime(),
      note: (text) => console.error(text),
    },
  };
}

function readOptions(commandLine: readonly string[]) {
  const options = {
    only: { type: "string" },
    repeats: { type: "string" },
    threads: { type: "string" },
    case: { type: "string" },
  } as const;
  try {
    return parseArgs({ args: [...commandLine], options, allowPositionals: true });
  } catch (thrown) {
    throw new UserError(`Cannot run benchmark: ${messageOf(thrown)}`, { cause: thrown });
  }
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1) return value;
  throw new UserError(
    `Cannot run benchmark: --${option} is "${text}", expected a whole number of at least 1`,
  );
}
