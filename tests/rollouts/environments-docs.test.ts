/** docs/environments.md: its example runs as it stands, and what it lists is what there is. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeEnv, ENV_CHECKS, type EnvSet, TextToSqlConfig } from "../../src/envs/index.js";

const text = readFileSync(resolve(import.meta.dirname, "../../docs/environments.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "hone-example-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Example {
  createGuessing(secrets: readonly number[]): EnvSet;
  readonly problems: unknown;
}
let example: Example;
beforeAll(async () => {
  const [, code] = /```ts\n([\s\S]*?)```/.exec(text)!;
  const path = join(folder, "example.ts");
  writeFileSync(
    path,
    code!.replace('"hone-ai"', JSON.stringify(resolve(import.meta.dirname, "../../src/index.ts"))),
  );
  example = (await import(path)) as Example; // what the documentation says it exports
});

describe("the example", () => {
  describeEnv(() => example.createGuessing([1, 37, 50, 100]), { it });

  it("finds no problems with itself", () => {
    expect(example.problems).toEqual([]);
  });

  it("answers guesses by turns", async () => {
    const set = example.createGuessing([37]);
    const env = await set.create(set.tasks[0]!, 0);
    const said: (string | null | undefined)[] = [];
    for (const guess of ["50", "many", "25", "37"]) {
      const { observation } = await env.step({ text: guess, stopReason: "stop", tokenCount: 2 });
      said.push(observation?.messages[0]?.content);
    }
    expect(said).toEqual(["lower", "a number, please", "higher", undefined]);
  });
});

it("the page names every check of the battery and every key that weighs or corrects", () => {
  for (const { name } of ENV_CHECKS) expect(text).toContain(`| \`${name}\` |`);
  const defaults = TextToSqlConfig.parse({ data: "x" });
  const weights = Object.entries(defaults.weights);
  expect(weights.filter(([, weight]) => weight > 0)).toEqual([["execution", 1]]);
  for (const [name] of weights) expect(text).toContain(`\`${name}\``);
  expect(text).toContain(
    `| \`sampleRows\`, \`linkValues\`, \`listTables\` | ${defaults.sampleRows}, ${defaults.linkValues}, ${defaults.listTables} |`,
  );
  expect(text).toContain(
    `| \`corrections\`, \`correctionDiscount\` | ${defaults.corrections}, ${defaults.correctionDiscount} |`,
  );
});
