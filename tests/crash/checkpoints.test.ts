/**
 * The checkpoint protocol under SIGKILL: a child process dies at every one of its file operations in turn, and what it
 * leaves must verify as it is, and lead to the same end as a run that nobody stopped.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { hasRunStore, openRunStore, verifyCheckpoint } from "../../src/runs/index.js";

const CHILD = join(import.meta.dirname, "checkpoint-child.mjs");

interface Exit {
  readonly signal: string | null;
  readonly code: number | null;
  readonly output: string;
}

function child(finish: string, begin: string, crashAt: number): Promise<Exit> {
  return new Promise((resolve, reject) => {
    const started = spawn(process.execPath, [CHILD, finish, begin, String(crashAt)], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    started.stdout.on("data", (text) => (output += text));
    started.stderr.on("data", (text) => (output += text));
    started.on("error", reject);
    started.on("close", (code, signal) => resolve({ signal, code, output }));
  });
}

/** Everything of a finished run that must not depend on where it was stopped. */
function outcome(project: string) {
  const store = openRunStore(project);
  const record = store.runs().at(-1)!;
  const directory = store.directoryOf(record.id);
  const lines = readFileSync(join(directory, "metrics.jsonl"), "utf8").trim().split("\n");
  const result = {
    status: record.status,
    metrics: store
      .metrics(record.id)
      .filter(({ isMachine }) => !isMachine)
      .map(({ entry, step, name, value }) => ({ entry, step, name, value })),
    lines: lines.map((line) => {
      const { step, metrics } = JSON.parse(line);
      return { step, metrics };
    }),
    checkpoints: store.checkpoints(record.id),
    files: readdirSync(join(directory, "checkpoints"), { recursive: true, encoding: "utf8" }).sort(),
    left: readdirSync(directory).filter((name) => !name.includes("tfevents")),
    weights: readFileSync(join(directory, "checkpoints/step-000003/state/weights.bin"), "utf8"),
  };
  store.close();
  return result;
}

/** What a killed run left must be good before anything repairs it: every checkpoint on record verifies. */
function verifyLeft(project: string): number {
  if (!hasRunStore(project)) return 0;
  const store = openRunStore(project);
  let verified = 0;
  for (const { id } of store.runs()) {
    for (const { path, contentHash, isKept } of store.checkpoints(id)) {
      const directory = join(store.directoryOf(id), path);
      if (!isKept) continue;
      verifyCheckpoint(directory, contentHash);
      verified++;
    }
  }
  store.close();
  return verified;
}

it("a kill at any file operation leaves the last good checkpoint, and the resumed run ends as if never stopped", async () => {
  expect(existsSync(join(import.meta.dirname, "../../dist/runs/disk.js")), "run `npm run build` first").toBe(
    true,
  );
  const root = mkdtempSync(join(tmpdir(), "hone-crash-"));
  const whole = join(root, "whole");
  const { output, code } = await child("-", whole, Number.MAX_SAFE_INTEGER);
  expect(code, output).toBe(0);
  const operations: number = JSON.parse(output).operations;
  const expected = outcome(whole);
  expect(expected.status).toBe("finished");
  expect(expected.files).toContain("step-000002");
  expect(operations).toBeGreaterThan(50);

  const points = Array.from({ length: operations }, (_, i) => i + 1);
  let killedWithCheckpoint = 0;
  // Two chains at once; each child finishes what the one before it left, then is killed itself.
  const chain = async (own: readonly number[]): Promise<void> => {
    let before = "-";
    for (const crashAt of [...own, undefined]) {
      const begin = crashAt === undefined ? "-" : join(root, `killed-${crashAt}`);
      const exit = await child(before, begin, crashAt ?? 0);
      if (crashAt === undefined) expect(exit.code, exit.output).toBe(0);
      else expect(exit.signal, `operation ${crashAt}: ${exit.output}`).toBe("SIGKILL");
      if (before !== "-") expect(outcome(before), before).toEqual(expected);
      if (begin !== "-" && verifyLeft(begin) > 0) killedWithCheckpoint++;
      before = begin;
    }
  };
  await Promise.all([chain(points.filter((n) => n % 2 === 1)), chain(points.filter((n) => n % 2 === 0))]);
  expect(killedWithCheckpoint).toBeGreaterThan(operations / 3);
}, 120_000);
