/** The documentation says what the code does. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parse } from "yaml";
import {
  DpoConfig,
  describeConfig,
  GUARDS,
  LOOP_METRICS,
  PREFERENCE_METHODS,
  PREFERENCE_METRICS,
  RL_METRICS,
  RlConfig,
  SFT_METRICS,
  SftConfig,
} from "../training/index.js";
import { createProgram } from "./program.js";

const documentation = (name: string): string =>
  readFileSync(join(import.meta.dirname, "../../docs", name), "utf8");

it("docs/sft.md lists every key with its default and every metric with its unit", () => {
  const text = documentation("sft.md");
  expect(text).toContain(describeConfig(SftConfig));
  for (const [name, { unit, meaning, isMachine }] of Object.entries(SFT_METRICS)) {
    expect(text).toContain(`| \`${name}\` | ${unit} | ${meaning}${isMachine ? " (machine)" : ""} |`);
  }
});

it("the example of docs/sft.md is a configuration", () => {
  const example = /```yaml\n([\s\S]*?)```/.exec(documentation("sft.md"))![1]!;
  expect(SftConfig.parse(parse(example))).toMatchObject({ model: "base", batchSize: 16, schedule: "cosine" });
});

it("docs/rl.md lists every key, metric and guard with its defaults, and its example is a configuration", () => {
  const text = documentation("rl.md");
  expect(text).toContain(describeConfig(RlConfig));
  for (const [name, { unit, meaning, isMachine }] of Object.entries(RL_METRICS)) {
    expect(text).toContain(`| \`${name}\` | ${unit} | ${meaning}${isMachine ? " (machine)" : ""} |`);
  }
  for (const [name, { defaults }] of Object.entries(GUARDS)) {
    const { warn, limit, action, patience } = defaults;
    const row = text.split("\n").find((line) => line.startsWith(`| \`${name}\` |`) && line.includes(action));
    expect(row, name).toContain(`| ${warn} | ${limit} | \`${action}\` | ${patience} |`);
  }
  const example = /```yaml\n([\s\S]*?)```/.exec(text)![1]!;
  expect(RlConfig.parse(parse(example))).toMatchObject({ algorithm: "grpo", groupSize: 8, maxTokens: 256 });
});

it("docs/preferences.md lists every key of every method and every metric, and its example is a configuration", () => {
  const lines = new Set(documentation("preferences.md").split("\n"));
  for (const [method, { schema }] of Object.entries(PREFERENCE_METHODS)) {
    for (const row of describeConfig(schema).split("\n")) expect(lines, `${method}: ${row}`).toContain(row);
  }
  for (const [name, definition] of Object.entries({ ...PREFERENCE_METRICS, ...LOOP_METRICS })) {
    const { unit, meaning, isMachine } = definition;
    expect(lines).toContain(`| \`${name}\` | ${unit} | ${meaning}${isMachine ? " (machine)" : ""} |`);
  }
  const example = /```yaml\n([\s\S]*?)```/.exec(documentation("preferences.md"))![1]!;
  expect(DpoConfig.parse(parse(example))).toMatchObject({
    beta: 0.1,
    learningRate: 1e-5,
    lossType: "sigmoid",
  });
});

it("docs/cli.md names every command and no other", () => {
  const text = documentation("cli.md");
  const commands = createProgram().commands.flatMap((command) =>
    command.commands.length === 0
      ? [command.name()]
      : command.commands.map((inner) => `${command.name()} ${inner.name()}`),
  );
  for (const command of commands) {
    expect(text).toContain(`\`hone ${command === "runs list" ? "runs [list]" : command}`);
  }
  const documented = [...text.matchAll(/^\| `hone ([a-z-]+)/gm)].map((match) => match[1]);
  expect(new Set(documented)).toEqual(new Set(createProgram().commands.map((command) => command.name())));
});
