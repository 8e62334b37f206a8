/** `hone runs rollouts`: what it prints, what it exports, what it refuses. */
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { UserError } from "../base/index.js";
import { openRunStore, type RolloutRecord } from "../runs/index.js";
import { showRollouts } from "./commands/runs.js";

const right: RolloutRecord = {
  step: 1,
  taskId: "pets-1",
  tags: { hardness: "easy" },
  sample: 0,
  seed: 5,
  reward: 1,
  invalid: null,
  components: [{ name: "execution", score: 1, weight: 1 }],
  turns: [{ stopReason: "stop", reward: 1, metrics: { correct: 1 } }],
  isTruncated: false,
  tokens_T: [1, 2],
  spans: [
    { source: "prompt", start: 0, end: 1, text: "how many?" },
    { source: "sampled", start: 1, end: 2, text: "SELECT\n count(*)  FROM pets" },
  ],
  logprobs_T: [0, -0.5],
  rawLogprobs_T: [0, -0.5],
};
const failed: RolloutRecord = {
  ...right,
  step: 2,
  sample: 1,
  reward: null,
  invalid: { boundary: "sandbox", reason: "the database could not be opened" },
  components: [],
};

function projectWithRollouts(): string {
  const project = mkdtempSync(join(tmpdir(), "hone-cli-rollouts-"));
  const store = openRunStore(project);
  const run = store.createRun({ method: "grpo", config: {}, seed: 1, versions: {}, dataHashes: {} });
  run.logRollouts([right, failed]);
  run.close("finished");
  store.close();
  return project;
}

function printedBy(run: () => void): string {
  const write = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    run();
    return write.mock.calls.map(([text]) => String(text)).join("");
  } finally {
    write.mockRestore();
  }
}

it("prints a line per rollout, with the reason of an invalid one", () => {
  const project = projectWithRollouts();
  expect(printedBy(() => showRollouts("grpo-1", { project }))).toBe(
    [
      "step  task    sample  reward   cut off  completion",
      "   1  pets-1       0  1                 SELECT count(*) FROM pets",
      "   2  pets-1       1  invalid           the database could not be opened",
      "",
    ].join("\n"),
  );
  expect(printedBy(() => showRollouts("grpo-1", { project, step: 3 }))).toBe("No rollouts of grpo-1 fit\n");
});

it("exports whole rollouts as JSON Lines", () => {
  const project = projectWithRollouts();
  const jsonl = join(project, "rollouts.jsonl");
  printedBy(() => showRollouts("grpo-1", { project, jsonl }));
  const lines = readFileSync(jsonl, "utf8").trimEnd().split("\n");
  expect(lines.map((line): unknown => JSON.parse(line))).toEqual([right, failed]);
  expect(readdirSync(project)).not.toContain("rollouts.jsonl.new");

  printedBy(() => showRollouts("grpo-1", { project, jsonl, step: 2 }));
  expect(readFileSync(jsonl, "utf8").trimEnd().split("\n")).toHaveLength(1);
});

it("refuses a file that cannot be written", () => {
  const project = projectWithRollouts();
  const jsonl = join(project, "absent", "rollouts.jsonl");
  expect(() => showRollouts("grpo-1", { project, jsonl })).toThrow(UserError);
  expect(() => showRollouts("grpo-1", { project, jsonl })).toThrow(
    `Cannot write rollouts to ${jsonl}: ENOENT`,
  );
});
