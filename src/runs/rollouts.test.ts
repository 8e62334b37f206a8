/** Rollouts in the store: they come back as they were, filters mean what they say, kills and old stores lose nothing. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import Sqlite from "libsql";
import { describe, expect, it } from "vitest";
import { openRunStore, type RolloutRecord, type RunSpec } from "./index.js";
import { packFloats, packIntegers, unpackFloats, unpackIntegers } from "./rollout-bytes.js";

const SPEC: RunSpec = { method: "grpo", config: {}, seed: 1, versions: {}, dataHashes: {} };

const project = (): string => mkdtempSync(join(tmpdir(), "hone-rollouts-"));

function rollout(overrides: Partial<RolloutRecord> = {}): RolloutRecord {
  return {
    step: 1,
    taskId: "pets-1",
    tags: { hardness: "easy" },
    sample: 0,
    seed: 4_000_000_000,
    reward: 1,
    invalid: null,
    components: [{ name: "execution", score: 1, weight: 1, evidence: "3 rows" }],
    turns: [{ stopReason: "stop", reward: 1, metrics: { correct: 1 } }],
    isTruncated: false,
    tokens_T: [5, 300, 70_000, 2, 9, 1],
    spans: [
      { source: "prompt", start: 0, end: 2, text: "how many? =>" },
      { source: "sampled", start: 2, end: 4, text: "SELECT 3" },
      { source: "tool", start: 4, end: 5, text: "error" },
      { source: "forced", start: 5, end: 6, text: "!" },
    ],
    logprobs_T: [0, 0, -0.5, -0.25, 0, 0],
    rawLogprobs_T: [0, 0, -0.75, -1.5, 0, 0],
    ...overrides,
  };
}

const broken = rollout({
  sample: 1,
  reward: null,
  invalid: { boundary: "sandbox", reason: "the database could not be opened" },
  components: [],
  turns: [],
  tokens_T: [],
  spans: [],
  logprobs_T: [],
  rawLogprobs_T: [],
});

describe("logRollouts()", () => {
  it("keeps rollouts as they are, failed ones too, for this process and the next", () => {
    const directory = project();
    const store = openRunStore(directory);
    const run = store.createRun(SPEC);
    const odd = rollout({ turns: [{ stopReason: "length", reward: null, metrics: { ratio: Number.NaN } }] });
    run.logRollouts([rollout(), broken]);
    run.logRollouts([odd]);
    expect([...run.rollouts()]).toEqual([rollout(), broken, odd]);
    run.close("finished");
    store.close();
    expect([...openRunStore(directory).rollouts(run.id)]).toEqual([rollout(), broken, odd]);
  });

  it("keeps the order over more rollouts than a page has", () => {
    const run = openRunStore(project()).createRun(SPEC);
    const many = Array.from({ length: 700 }, (_, sample) => rollout({ sample }));
    run.logRollouts(many);
    expect([...run.rollouts()].map(({ sample }) => sample)).toEqual(many.map(({ sample }) => sample));
  });

  it("refuses steps that a checkpoint has closed", async () => {
    const run = openRunStore(project()).createRun(SPEC);
    await run.saveCheckpoint(3, async (directory) => writeFileSync(join(directory, "weights"), "w"));
    expect(() => run.logRollouts([rollout({ step: 3 })])).toThrow(
      "Cannot log rollouts of step 3: the checkpoint of step 3 is already saved, expected a later step",
    );
  });

  it("keeps a prompt that many rollouts share once", () => {
    const directory = project();
    const run = openRunStore(directory).createRun(SPEC);
    run.logRollouts([rollout(), rollout({ sample: 1 }), rollout({ sample: 2, step: 2 })]);
    const sqlite = new Sqlite(join(directory, ".hone", "store.sqlite"));
    expect(sqlite.prepare("SELECT count(*) AS n FROM rollout_prompts").get()).toMatchObject({ n: 1 });
  });
});

it.each([
  [{ step: 2 }, [2]],
  [{ taskId: "pets-2" }, [1, 2]],
  [{ minReward: 0.5 }, [0]],
  [{ minReward: 0.25, maxReward: 0.25 }, [1]],
  [{ maxReward: 0.5 }, [1, 2]],
  [{ isInvalid: true }, [3]],
  [{ isInvalid: false, step: 1 }, [0, 1]],
  [{ step: 2, taskId: "pets-1" }, []],
])("rollouts(%j) answers those that fit", (filter, samples) => {
  const run = openRunStore(project()).createRun(SPEC);
  run.logRollouts([
    rollout({ sample: 0 }),
    rollout({ sample: 1, taskId: "pets-2", reward: 0.25 }),
    rollout({ sample: 2, taskId: "pets-2", reward: 0, step: 2 }),
    { ...broken, sample: 3 },
  ]);
  expect([...run.rollouts(filter)].map(({ sample }) => sample)).toEqual(samples);
});

it("resumeRun() cuts rollouts after the latest checkpoint off, and no other run's", async () => {
  const directory = project();
  const store = openRunStore(directory);
  const other = store.createRun(SPEC);
  other.logRollouts([rollout({ step: 9 })]);
  const run = store.createRun(SPEC);
  run.logRollouts([rollout({ step: 1 })]);
  await run.saveCheckpoint(1, async (checkpoint) => writeFileSync(join(checkpoint, "weights"), "w"));
  run.logRollouts([
    rollout({ step: 2, spans: [{ source: "prompt", start: 0, end: 6, text: "only of step 2" }] }),
  ]);
  run.close("interrupted");

  const resumed = store.resumeRun(run.id);
  expect([...resumed.rollouts()].map(({ step }) => step)).toEqual([1]);
  expect([...store.rollouts(other.id)].map(({ step }) => step)).toEqual([9]);
  const sqlite = new Sqlite(join(directory, ".hone", "store.sqlite"));
  expect(sqlite.prepare("SELECT text FROM rollout_prompts").all()).toEqual([{ text: "how many? =>" }]);
  resumed.logRollouts([rollout({ step: 2, sample: 5 })]);
  expect([...resumed.rollouts()].map(({ sample }) => sample)).toEqual([0, 5]);
});

it("openRunStore() brings a store of the first version up to date and keeps its runs", () => {
  const directory = project();
  const store = openRunStore(directory);
  store.createRun(SPEC).close("finished");
  store.close();
  // What version 1 was: the same without the tables that version 2 added.
  const sqlite = new Sqlite(join(directory, ".hone", "store.sqlite"));
  sqlite.exec("DROP TABLE rollouts; DROP TABLE rollout_prompts; PRAGMA user_version = 1");
  sqlite.close();

  const migrated = openRunStore(directory);
  expect(migrated.runs().map(({ id }) => id)).toEqual(["grpo-1"]);
  const run = migrated.createRun(SPEC);
  run.logRollouts([rollout()]);
  expect([...migrated.rollouts(run.id)]).toEqual([rollout()]);
});

describe("packed numbers", () => {
  it("come back as they were", () => {
    const integers = fc.array(fc.oneof(fc.nat(300), fc.maxSafeNat()));
    fc.assert(
      fc.property(integers, (values) => void expect(unpackIntegers(packIntegers(values))).toEqual(values)),
      { seed: 3 },
    );
    const floats = fc.array(fc.float({ noNaN: true }));
    fc.assert(
      fc.property(floats, (values) => void expect(unpackFloats(packFloats(values))).toEqual(values)),
      { seed: 3 },
    );
  });

  it("take a byte up to 127 and two up to 16383", () => {
    expect([127, 128, 16_383, 16_384].map((value) => packIntegers([value]).length)).toEqual([1, 2, 2, 3]);
  });

  it("refuse what they cannot hold", () => {
    expect(() => packIntegers([-1])).toThrow("Cannot pack -1, expected a whole number of 0 or more");
    expect(() => unpackIntegers(Uint8Array.of(0x80))).toThrow(
      "Cannot unpack integers: the last one is cut off",
    );
  });
});
