import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { createPool, type Pool, type PoolOptions } from "../../src/sandbox/index.js";

interface Order {
  readonly act: string;
  readonly value?: unknown;
  readonly phase?: number;
}

const module = new URL("./misbehave.mjs", import.meta.url);
const pools: Pool<Order, unknown>[] = [];

function open(options: Partial<PoolOptions> = {}): Pool<Order, unknown> {
  const pool = createPool<Order, unknown>({ module, size: 2, deadlineMs: 20_000, ...options });
  pools.push(pool);
  return pool;
}

afterEach(async () => {
  for (const pool of pools.splice(0)) await pool.close();
});

/** A process that has ended but is not reaped yet (state Z) still takes signals: its parent may be slow. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (process.platform !== "linux") return true;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] !== "Z";
  } catch {
    return false;
  }
}

async function until(condition: () => boolean, limitMs: number): Promise<boolean> {
  for (const endMs = Date.now() + limitMs; Date.now() < endMs; ) {
    if (condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return condition();
}

describe("createPool()", () => {
  it("answers every job with its own response, in as many processes as asked", async () => {
    const pool = open();
    const outcomes = await Promise.all(
      Array.from({ length: 1000 }, (_, value) => pool.run({ act: "echo", value })),
    );
    expect(outcomes).toEqual(Array.from({ length: 1000 }, (_, response) => ({ kind: "done", response })));
    const pids = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        await pool.run({ act: "sleep", value: i % 5 });
        return pool.run({ act: "pid" });
      }),
    );
    const distinct = new Set(pids.map((outcome) => (outcome as { response: number }).response));
    expect(distinct.size).toBe(2);
    expect(distinct.has(process.pid)).toBe(false);
  });

  it("kills a child stuck inside native code at the deadline, and names the phase", async () => {
    const pool = open({ size: 1 });
    await pool.run({ act: "echo" });
    const startedMs = performance.now();
    const outcome = await pool.run({ act: "stick", phase: 2 }, { deadlineMs: 200 });
    const tookMs = performance.now() - startedMs;
    expect(outcome).toEqual({ kind: "timeout", phase: 2, message: "ran longer than 200 ms" });
    expect(tookMs).toBeGreaterThanOrEqual(199);
    expect(tookMs).toBeLessThan(2000);
    expect(await pool.run({ act: "echo", value: "alive" })).toEqual({ kind: "done", response: "alive" });
  });

  it("gives each phase of a job a deadline of its own", async () => {
    const pool = open({ deadlineMs: 600 });
    // 8 phases of 150 ms: 1200 ms together.
    expect(await pool.run({ act: "phases", value: 8 })).toEqual({ kind: "done", response: "all phases" });
  });

  it("reports a job that ends its process as a crash, after a second try alone", async () => {
    const pool = open();
    const outcome = await pool.run({ act: "exit", value: 7, phase: 3 });
    expect(outcome).toEqual({ kind: "crash", phase: 3, message: "it ended with exit code 7, twice" });
  });

  it("repeats a job whose process died by accident", async () => {
    const directory = mkdtempSync(join(tmpdir(), "hone-test-"));
    const outcome = await open().run({ act: "abort once", value: join(directory, "marker") });
    rmSync(directory, { recursive: true });
    expect(outcome).toEqual({ kind: "done", response: "second time" });
  });

  it("passes on what a handler throws and keeps its process", async () => {
    const pool = open({ size: 1 });
    const before = await pool.run({ act: "pid" });
    expect(await pool.run({ act: "sing" })).toMatchObject({
      kind: "error",
      message: expect.stringMatching(/^Error: cannot sing\n/),
    });
    expect(await pool.run({ act: "pid" })).toEqual(before);
  });

  it.runIf(process.platform === "linux")("ends a job that takes more memory than it may", async () => {
    const pool = open({ memoryLimitBytes: 200 * 2 ** 20 });
    const outcome = await pool.run({ act: "hoard" });
    expect(outcome.kind).toBe("memory");
    expect(await pool.run({ act: "echo", value: 1 })).toEqual({ kind: "done", response: 1 });
  });

  it("rejects with the cause when its children cannot start, at once and ever after", async () => {
    const pool = open({ options: { failure: "no such treasure" } });
    const message =
      /^Cannot go on with a pool of .*misbehave\.mjs: 3 child processes in a row could not start, expected them to serve jobs until close\(\)\. The last one: it ended with exit code 86: no such treasure$/;
    const results = await Promise.allSettled([pool.run({ act: "echo" }), pool.run({ act: "echo" })]);
    for (const result of results)
      expect(result).toMatchObject({
        status: "rejected",
        reason: { message: expect.stringMatching(message) },
      });
    await expect(pool.run({ act: "echo" })).rejects.toThrow(message);
  });

  it("gives every job its own outcome when others hang, crash and throw beside it", async () => {
    const pool = open({ deadlineMs: 250 });
    const act = fc.oneof(
      { weight: 20, arbitrary: fc.constant("echo") },
      { weight: 1, arbitrary: fc.constantFrom("abort", "stick", "sing") },
    );
    const expected: Record<string, string> = {
      echo: "done",
      abort: "crash",
      stick: "timeout",
      sing: "error",
    };
    await fc.assert(
      fc.asyncProperty(fc.array(act, { minLength: 1, maxLength: 60 }), async (acts) => {
        const outcomes = await Promise.all(acts.map((act, value) => pool.run({ act, value })));
        for (const [i, outcome] of outcomes.entries()) {
          expect(outcome.kind).toBe(expected[acts[i]!]);
          if (outcome.kind === "done") expect(outcome.response).toBe(i);
        }
      }),
      { numRuns: 6, seed: 20261121 },
    );
  });

  it("rejects a cancelled job, waiting or running, and runs the others", async () => {
    const pool = open({ size: 1 });
    const controller = new AbortController();
    const running = pool.run({ act: "sleep", value: 100 }, { signal: controller.signal });
    const waiting = pool.run({ act: "sleep", value: 60_000 }, { signal: controller.signal });
    const other = pool.run({ act: "echo", value: "other" });
    controller.abort();
    await expect(running).rejects.toThrow("Cancelled while the job waited or ran");
    await expect(waiting).rejects.toThrow("Cancelled while the job waited or ran");
    expect(await other).toEqual({ kind: "done", response: "other" });
    await expect(pool.run({ act: "echo" }, { signal: controller.signal })).rejects.toThrow(
      "Cancelled before the job started",
    );
  });

  it("close() ends the children and rejects what is pending", async () => {
    const pool = open({ size: 1 });
    const outcome = (await pool.run({ act: "pid" })) as { response: number };
    const pending = pool.run({ act: "stick" });
    const rejected = expect(pending).rejects.toThrow("Cannot run a job: the pool was closed");
    await pool.close();
    await rejected;
    expect(isRunning(outcome.response)).toBe(false);
    await expect(pool.run({ act: "echo" })).rejects.toThrow("Cannot run a job: the pool was closed");
  });

  it("close() may be called twice, and both calls wait for the end of the children", async () => {
    const pool = open({ size: 1 });
    const outcome = (await pool.run({ act: "pid" })) as { response: number };
    const closing = Promise.all([
      pool.close().then(() => isRunning(outcome.response)),
      pool.close().then(() => isRunning(outcome.response)),
    ]);
    const tooLate = new Promise((resolve) => setTimeout(() => resolve("never"), 10_000).unref());
    expect(await Promise.race([closing, tooLate])).toEqual([false, false]);
  });

  it("hides the environment of the program from its children", async () => {
    process.env["HONE_TEST_SECRET"] = "secret";
    const outcome = await open().run({ act: "environment", value: "HONE_TEST_SECRET" });
    delete process.env["HONE_TEST_SECRET"];
    expect(outcome).toEqual({ kind: "done", response: undefined });
  });
});

describe("a pool's program", () => {
  const start = (state: "stuck" | "idle" | "closed") => {
    const program = spawn(process.execPath, [
      fileURLToPath(new URL("./orphan-maker.mjs", import.meta.url)),
      state,
    ]);
    const child = new Promise<number>((resolve) =>
      program.stdout.once("data", (text) => resolve(Number(text))),
    );
    const ended = new Promise<number | null>((resolve) => program.once("exit", resolve));
    return { program, child, ended };
  };

  it("leaves no child behind when it is killed, even one stuck inside native code", async () => {
    const { program, child } = start("stuck");
    const pid = await child;
    expect(isRunning(pid)).toBe(true);
    program.kill("SIGKILL");
    expect(await until(() => !isRunning(pid), 5000)).toBe(true);
  });

  it("can wait for close() when nothing else is left to wait for", async () => {
    const { child, ended } = start("closed");
    expect(isRunning(await child)).toBe(false);
    expect(await ended).toBe(0);
  });

  it("ends by itself when nothing is pending, without close()", async () => {
    const { child, ended } = start("idle");
    const pid = await child;
    expect(await ended).toBe(0);
    expect(await until(() => !isRunning(pid), 5000)).toBe(true);
  });
});
