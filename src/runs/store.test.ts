import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { expect, it } from "vitest";
import { parse } from "yaml";
import { UserError } from "../base/index.js";
import { readScalars } from "./event-file-reader.js";
import { hasRunStore, openRunStore, type Run, type RunSpec } from "./index.js";

const SPEC: RunSpec = {
  method: "sft",
  config: { model: "models/tiny", steps: 4, schedule: { type: "cosine" } },
  seed: 7,
  versions: { "hone-ai": "0.1.0" },
  gitCommit: "abc",
  dataHashes: { "train.jsonl": "00ff" },
  modelHash: "beef",
};

const project = (): string => mkdtempSync(join(tmpdir(), "hone-runs-"));

const save = (run: Run, step: number, score?: number) =>
  run.saveCheckpoint(
    step,
    async (directory) => writeFileSync(join(directory, "weights.bin"), `weights ${step}`),
    {
      score,
    },
  );

const eventSteps = (directory: string): number[] =>
  readdirSync(directory)
    .filter((name) => name.includes("tfevents"))
    .flatMap((name) => readScalars(readFileSync(join(directory, name))).map(({ step }) => step));

it("createRun() records all that repeats the run, in the store and in its directory", () => {
  const directory = project();
  expect(hasRunStore(directory)).toBe(false);
  const store = openRunStore(directory, { now: () => new Date("2026-11-20T10:00:00Z") });
  const run = store.createRun(SPEC);
  expect(hasRunStore(directory)).toBe(true);
  expect(store.run("sft-1")).toEqual({
    ...SPEC,
    id: "sft-1",
    name: "sft-1",
    status: "running",
    created: "2026-11-20T10:00:00.000Z",
  });
  expect(parse(readFileSync(join(run.directory, "config.resolved.yaml"), "utf8"))).toEqual(SPEC.config);
  run.close("finished");
  expect(store.run("sft-1").status).toBe("finished");
  expect(store.createRun({ ...SPEC, name: "second try" }).record).toMatchObject({
    id: "sft-2",
    name: "second try",
  });
});

it("createRun() never writes into a directory whose record is gone", () => {
  const directory = project();
  openRunStore(directory).createRun(SPEC).close("finished");
  rmSync(join(directory, ".hone"), { recursive: true });
  expect(openRunStore(directory).createRun(SPEC).id).toBe("sft-2");
});

it("logMetrics() writes the same numbers to the store, metrics.jsonl and the event file", () => {
  const store = openRunStore(project(), { now: () => new Date("2026-11-20T10:00:00Z") });
  const run = store.createRun(SPEC);
  run.logMetrics(1, { "loss/nll": 0.1, "grad/norm": Number.NaN }, { "tokens/per_second": 1000 });
  run.logMetrics(2, { "loss/nll": Number.POSITIVE_INFINITY });
  const wallTime = "2026-11-20T10:00:00.000Z";
  const shared = { wallTime, isMachine: false };
  expect(store.metrics("sft-1")).toEqual([
    { ...shared, entry: 0, step: 1, name: "loss/nll", value: 0.1 },
    { ...shared, entry: 0, step: 1, name: "grad/norm", value: Number.NaN },
    { ...shared, entry: 0, step: 1, name: "tokens/per_second", value: 1000, isMachine: true },
    { ...shared, entry: 1, step: 2, name: "loss/nll", value: Number.POSITIVE_INFINITY },
  ]);
  expect(readFileSync(join(run.directory, "metrics.jsonl"), "utf8")).toBe(
    `{"step":1,"metrics":{"loss/nll":0.1,"grad/norm":"NaN"},"machine":{"tokens/per_second":1000},"wallTime":"${wallTime}"}\n` +
      `{"step":2,"metrics":{"loss/nll":"Infinity"},"machine":{},"wallTime":"${wallTime}"}\n`,
  );
  const file = readdirSync(run.directory).find((name) => name.includes("tfevents"))!;
  expect(readScalars(readFileSync(join(run.directory, file)))).toEqual([
    {
      wallTime: 1795168800,
      step: 1,
      scalars: { "loss/nll": Math.fround(0.1), "grad/norm": Number.NaN, "tokens/per_second": 1000 },
    },
    { wallTime: 1795168800, step: 2, scalars: { "loss/nll": Number.POSITIVE_INFINITY } },
  ]);
});

it("logMetrics() refuses a step whose checkpoint is saved, because a resume would lose it", async () => {
  const run = openRunStore(project()).createRun(SPEC);
  run.logMetrics(5, { "loss/nll": 1 });
  await save(run, 5);
  expect(() => run.logMetrics(5, { "eval/nll": 1 })).toThrow(
    "Cannot log metrics of step 5: the checkpoint of step 5 is already saved, expected a later step",
  );
  run.logMetrics(6, { "loss/nll": 1 });
});

it("resumeRun() cuts metrics after the latest checkpoint off in all three places", async () => {
  const directory = project();
  const store = openRunStore(directory);
  const run = store.createRun(SPEC);
  run.logMetrics(0, { "eval/nll": 9 });
  for (const step of [1, 2, 3, 4]) {
    run.logMetrics(step, { "loss/nll": 1 / step });
    if (step % 2 === 0 && step < 4) await save(run, step);
  }
  run.close("interrupted");

  const again = openRunStore(directory).resumeRun("sft-1");
  expect(again.step).toBe(2);
  expect(store.metrics("sft-1").map(({ step, value }) => [step, value])).toEqual([
    [0, 9],
    [1, 1],
    [2, 0.5],
  ]);
  const lines = readFileSync(join(run.directory, "metrics.jsonl"), "utf8").trim().split("\n");
  expect(lines.map((line) => JSON.parse(line).step)).toEqual([0, 1, 2]);
  expect(eventSteps(run.directory)).toEqual([0, 1, 2]);
  again.logMetrics(3, { "loss/nll": 1 / 3 });
  expect(eventSteps(run.directory)).toEqual([0, 1, 2, 3]);
  expect(store.metrics("sft-1").map(({ entry }) => entry)).toEqual([0, 1, 2, 3]);
});

it("resumeRun() refuses a finished run and names the runs there are for an unknown one", () => {
  const store = openRunStore(project());
  store.createRun(SPEC).close("finished");
  expect(() => store.resumeRun("sft-1")).toThrow(
    'Cannot resume run "sft-1": it is finished, expected one that was stopped',
  );
  expect(() => store.resumeRun("sft-9")).toThrow(
    'Cannot find run "sft-9": the store does not have it, expected one of its runs (sft-1)',
  );
});

it("saveCheckpoint() keeps the best and the latest, and removes the files of the others", async () => {
  const store = openRunStore(project());
  const run = store.createRun(SPEC);
  for (const [step, score] of [[1, 3] as const, [2, 1] as const, [3, 2] as const, [4, 5] as const]) {
    run.logMetrics(step, { "eval/nll": score });
    await save(run, step, score);
  }
  expect(readdirSync(join(run.directory, "checkpoints")).sort()).toEqual(["step-000002", "step-000004"]);
  expect(store.checkpoints("sft-1").map(({ step, isKept }) => [step, isKept])).toEqual([
    [1, false],
    [2, true],
    [3, false],
    [4, true],
  ]);
  expect(run.latestCheckpoint()?.step).toBe(4);
  expect(run.bestCheckpoint()).toMatchObject({ step: 2, score: 1, sizeBytes: "weights 2".length });
});

it("a checkpoint whose writing failed leaves nothing, and the run goes on", async () => {
  const run = openRunStore(project()).createRun(SPEC);
  await expect(
    run.saveCheckpoint(1, async (directory) => {
      writeFileSync(join(directory, "weights.bin"), "half");
      throw new Error("disk full");
    }),
  ).rejects.toThrow("disk full");
  expect(run.latestCheckpoint()).toBeUndefined();
  await save(run, 1);
  expect(run.latestCheckpoint()?.step).toBe(1);
  expect(readdirSync(join(run.directory, "checkpoints"))).toEqual(["step-000001"]);
});

it.each([
  ["a flipped byte", "weights 9", "weights.bin is damaged: its SHA-256 is "],
  ["a short file", "weig", "weights.bin has 4 bytes, expected 9"],
])("latestCheckpoint() refuses %s, naming the file", async (_, content, message) => {
  const run = openRunStore(project()).createRun(SPEC);
  await save(run, 1);
  const directory = join(run.directory, "checkpoints/step-000001");
  writeFileSync(join(directory, "weights.bin"), content);
  expect(() => run.latestCheckpoint()).toThrow(UserError);
  expect(() => run.latestCheckpoint()).toThrow(`Cannot load checkpoint ${directory}: ${message}`);
});

it("latestCheckpoint() refuses a manifest that was rewritten to fit changed files", async () => {
  const run = openRunStore(project()).createRun(SPEC);
  await save(run, 1);
  const manifest = join(run.directory, "checkpoints/step-000001/checkpoint.json");
  writeFileSync(manifest, readFileSync(manifest, "utf8").replace("weights.bin", "checkpoint.json"));
  expect(() => run.latestCheckpoint()).toThrow(/checkpoint\.json has \d+ bytes, expected 9/);
  rmSync(manifest);
  expect(() => run.latestCheckpoint()).toThrow(
    "checkpoint.json is missing, expected the list of its files. Remove the directory to go on from the checkpoint before it",
  );
});

it("resumeRun() goes on from the checkpoint before one whose directory was removed", async () => {
  const directory = project();
  const store = openRunStore(directory);
  const run = store.createRun(SPEC);
  for (const step of [1, 2]) {
    run.logMetrics(step, { "loss/nll": step });
    await save(run, step, step);
  }
  run.close("failed");
  rmSync(join(run.directory, "checkpoints/step-000002"), { recursive: true });
  const again = store.resumeRun("sft-1");
  expect(again.latestCheckpoint()?.step).toBe(1);
  expect(store.metrics("sft-1").map(({ step }) => step)).toEqual([1]);
  again.logMetrics(2, { "loss/nll": 2 });
  await save(again, 2, 2);
});

it("one run has one writer; a reader in another process reads while it writes", () => {
  const directory = project();
  const run = openRunStore(directory).createRun(SPEC);
  run.logMetrics(1, { "loss/nll": 0.5 });
  const other = openRunStore(directory);
  expect(() => other.resumeRun("sft-1")).toThrow(
    new RegExp(
      `^Cannot write to run .*sft-1: process ${process.pid} on .* has been writing to it since .*, expected no other writer`,
    ),
  );
  expect(other.writerOf("sft-1")?.pid).toBe(process.pid);
  const read =
    "const Sqlite = require('libsql'); const d = new Sqlite(process.argv[1]); console.log(d.prepare('SELECT value FROM metrics').get().value)";
  const output = execFileSync(process.execPath, ["-e", read, join(directory, ".hone/store.sqlite")], {
    encoding: "utf8",
  });
  expect(output.trim()).toBe("0.5");
  run.close("interrupted");
  expect(other.writerOf("sft-1")).toBeUndefined();
  other.resumeRun("sft-1").close("finished");
});

it("a lock is stale when its process is gone or its pid belongs to a younger process", () => {
  const directory = project();
  const store = openRunStore(directory);
  const run = store.createRun(SPEC);
  run.close("interrupted");
  const lock = join(run.directory, "lock");
  const gone = spawnSync(process.execPath, ["-e", ""]).pid;
  const holder = { pid: gone, processStart: "1", host: hostname(), since: "2026-11-20T10:00:00Z" };
  writeFileSync(lock, JSON.stringify(holder));
  expect(store.writerOf("sft-1")).toBeUndefined();
  if (existsSync("/proc/self/stat")) {
    writeFileSync(lock, JSON.stringify({ ...holder, pid: process.pid }));
    expect(store.writerOf("sft-1")).toBeUndefined();
  }
  writeFileSync(lock, JSON.stringify({ ...holder, pid: process.pid, processStart: null }));
  expect(store.writerOf("sft-1")?.pid).toBe(process.pid);
  writeFileSync(lock, JSON.stringify({ ...holder, host: "another-machine" }));
  expect(() => store.resumeRun("sft-1")).toThrow(
    /process \d+ on another-machine has been writing .* remove .*lock/,
  );
});

it("logEvent() keeps what happened in order, across a resume", () => {
  const directory = project();
  const store = openRunStore(directory);
  const run = store.createRun(SPEC);
  run.logEvent("preview", { rows: 3 });
  run.close("interrupted");
  store.resumeRun("sft-1").logEvent("resume", { step: 0 });
  expect(store.events("sft-1").map(({ kind, detail }) => [kind, detail])).toEqual([
    ["preview", { rows: 3 }],
    ["resume", { step: 0 }],
  ]);
});

it("openRunStore() refuses a file that is no database and one that a newer Hone wrote", () => {
  const directory = project();
  openRunStore(directory).close();
  const path = join(directory, ".hone/store.sqlite");
  const sqlite = new Sqlite(path);
  sqlite.exec("PRAGMA user_version = 99");
  sqlite.close();
  expect(() => openRunStore(directory)).toThrow(
    `Cannot open run store ${path}: its schema version is 99, expected 2 or less. Update hone-ai`,
  );
  writeFileSync(join(directory, "file"), "");
  expect(() => openRunStore(join(directory, "file"))).toThrow(
    `Cannot open run store ${join(directory, "file/.hone/store.sqlite")}: its directory cannot be made (ENOTDIR`,
  );
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix, { force: true });
  writeFileSync(path, "not a database ".repeat(100));
  expect(() => openRunStore(directory)).toThrow(
    `Cannot open run store ${path}: file is not a database, expected a SQLite file written by Hone. Move the file away to begin a new store`,
  );
});
