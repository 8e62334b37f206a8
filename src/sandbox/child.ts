/**
 * Main module of a pool's child: loads the handler, works through batches of jobs and writes into the ledger what it
 * is at. Arguments: the handler's URL and the parent's process id.
 */
import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { messageOf } from "../base/index.js";
import type { CreateHandler, Handler } from "./handler.js";
import { createLedgerWriter } from "./ledger.js";
import {
  CANNOT_LOAD,
  type FromChild,
  type JobMessage,
  type JobResult,
  LEDGER_DESCRIPTOR,
  type ToChild,
} from "./messages.js";

/** Results older than this go out before the next job starts: it may never end. */
const FLUSH_MS = 5;
const PARENT_WATCH_MS = 200;

const [moduleUrl, parent] = process.argv.slice(2);
const ledger = createLedgerWriter(LEDGER_DESCRIPTOR);
const queue: JobMessage[] = [];
let handler: Handler<unknown, unknown> | null = null;
let isWorking = false;

new Worker(new URL("./parent-watch.js", import.meta.url), {
  workerData: { parent: Number(parent), everyMs: PARENT_WATCH_MS },
  stdout: true,
  stderr: true,
}).unref();

process.on("disconnect", () => process.exit(0));
process.on("message", (message: ToChild) => {
  if ("options" in message) void load(message.options);
  else {
    queue.push(...message.jobs);
    if (!isWorking) void work();
  }
});

async function load(options: unknown): Promise<void> {
  try {
    const { default: createHandler } = (await import(moduleUrl!)) as {
      default: CreateHandler<unknown, unknown, unknown>; // the contract of PoolOptions.module
    };
    handler = await createHandler(options);
    send({ ready: true });
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\n`, () => process.exit(CANNOT_LOAD));
  }
}

async function work(): Promise<void> {
  isWorking = true;
  let results: JobResult[] = [];
  let flushedMs = performance.now();
  const flush = (): void => {
    const nowMs = performance.now();
    if (results.length > 0) send({ results, busyMs: nowMs - flushedMs });
    results = [];
    flushedMs = nowMs;
  };
  for (let job = queue.shift(); job !== undefined; job = queue.shift()) {
    const { id, request, attempt } = job;
    if (performance.now() - flushedMs > FLUSH_MS) flush();
    ledger.begin(id, 0);
    try {
      const answer = handler!(request, { attempt, mark: (phase) => ledger.begin(id, phase) });
      // Most handlers answer at once; a turn of the microtask queue per job would be the larger part of their time.
      results.push({ id, response: answer instanceof Promise ? await answer : answer });
    } catch (error) {
      results.push({
        id,
        error: error instanceof Error ? (error.stack ?? error.message) : messageOf(error),
      });
    }
  }
  ledger.idle();
  flush();
  isWorking = false;
}

function send(message: FromChild): void {
  process.send!(message);
}
