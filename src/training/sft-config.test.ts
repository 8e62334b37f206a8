import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { configKeys, describeConfig } from "./config-schema.js";
import { parseConfig } from "./load-config.js";
import { columnMappingOf, loadSftConfig, SftConfig } from "./sft-config.js";

const MINIMAL = "model: m\ndata:\n  train: t.jsonl\n";
const parse = (text: string): SftConfig => parseConfig(text, "sft.yaml", SftConfig);

function refusal(text: string): string {
  try {
    parse(text);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(UserError);
    return (thrown as UserError).message;
  }
  throw new Error("expected a refusal");
}

describe("SftConfig", () => {
  it("fills in the vetted defaults", () => {
    expect(parse(MINIMAL)).toEqual({
      model: "m",
      output: ".",
      data: {
        train: "t.jsonl",
        validationFraction: 0,
        asChat: false,
        addBos: "auto",
        addEos: true,
        allowNoEos: false,
        maxUnsupervisedFraction: 0.05,
      },
      trainOn: "auto",
      maxLength: 1024,
      truncation: "keep_start",
      epochs: 3,
      batchSize: 8,
      microBatchTokens: 4096,
      learningRate: 2e-5,
      schedule: "linear",
      warmupSteps: 0,
      warmupFraction: 0,
      weightDecay: 0,
      beta1: 0.9,
      beta2: 0.999,
      eps: 1e-8,
      gradClipNorm: 1,
      seed: 42,
      evalEvery: 100,
      saveEvery: 100,
      keepCheckpoints: 1,
      quantise: "none",
      gradientCheckpointing: false,
    });
  });

  it("takes ten times the learning rate for LoRA, unless one is given", () => {
    expect(parse(`${MINIMAL}lora: {}`)).toMatchObject({
      learningRate: 2e-4,
      lora: { rank: 16, alpha: 32, targets: "all-linear", rsLora: false },
    });
    expect(parse(`${MINIMAL}lora: {}\nlearningRate: 1e-3`).learningRate).toBe(1e-3);
    expect(parse(`${MINIMAL}lora: { targets: [q_proj] }\nquantise: { block: 128 }`)).toMatchObject({
      lora: { targets: ["q_proj"] },
      quantise: { bits: 4, block: 128, symmetric: true },
    });
  });

  it.each([
    [
      "a misspelt key",
      "learningrate: 1",
      'Cannot read sft.yaml:4:1: unknown key "learningrate". Did you mean "learningRate"?',
    ],
    [
      "snake case",
      "max_steps: 1",
      'Cannot read sft.yaml:4:1: unknown key "max_steps". Did you mean "maxSteps"?',
    ],
    [
      "TRL's name",
      "lr_scheduler_type: cosine",
      'Cannot read sft.yaml:4:1: unknown key "lr_scheduler_type". Did you mean "schedule"?',
    ],
    [
      "a key of another section",
      "alpha: 1",
      'Cannot read sft.yaml:4:1: unknown key "alpha". Did you mean "lora.alpha"?',
    ],
    [
      "a key of a union's section",
      "lora: {}\nquantise:\n  blok: 32",
      'Cannot read sft.yaml:6:3: unknown key "quantise.blok". Did you mean "quantise.block"?',
    ],
    [
      "a key like none",
      "lora:\n  zzzzzzz: 1",
      'Cannot read sft.yaml:5:3: unknown key "lora.zzzzzzz", expected one of "rank", "alpha", "targets", "rsLora"',
    ],
    [
      "text for a number",
      "batchSize: eight",
      'Cannot read sft.yaml:4:12: batchSize is text "eight", expected a number',
    ],
    [
      "a broken number",
      "batchSize: 2.5",
      "Cannot read sft.yaml:4:12: batchSize is 2.5, expected a whole number",
    ],
    ["a number too small", "epochs: 0", "Cannot read sft.yaml:4:9: epochs is 0, expected more than 0"],
    [
      "an unknown choice",
      "schedule: polynomial",
      'Cannot read sft.yaml:4:11: schedule is text "polynomial", expected one of "constant", "linear", "cosine"',
    ],
    [
      "neither of a union",
      "quantise: 8bit",
      'Cannot read sft.yaml:4:11: quantise is text "8bit", expected "none" or an object',
    ],
    [
      "quantise without lora",
      "quantise: {}",
      "Cannot read sft.yaml:4:11: quantise is set without lora, expected both: 4-bit weights cannot be trained. Add lora: {}",
    ],
    [
      "warmup twice",
      "warmupSteps: 5\nwarmupFraction: 0.1",
      "Cannot read sft.yaml:5:17: warmupSteps and warmupFraction are both set, expected one of them",
    ],
    [
      "a key given twice",
      "seed: 1\nseed: 2",
      "Cannot read sft.yaml:5:1: Map keys must be unique, expected valid YAML",
    ],
  ])("refuses %s, naming line and column", (_, text, message) => {
    const found = refusal(MINIMAL + text);
    expect(found).toBe(message);
  });

  it("names every fault, in the order of the file", () => {
    expect(refusal("model: 3\nseeds: 1\ndata: {}\n")).toBe(
      [
        "Cannot read sft.yaml:1:8: model is 3, expected text",
        'Cannot read sft.yaml:2:1: unknown key "seeds". Did you mean "seed"?',
        "Cannot read sft.yaml:3:7: data.train is missing, expected text",
      ].join("\n"),
    );
  });

  it("refuses contradictions in the data section", () => {
    const withData = (lines: string): string => refusal(`model: m\ndata:\n  train: t\n${lines}`);
    expect(withData("  validation: v\n  validationFraction: 0.1")).toBe(
      "Cannot read sft.yaml:5:23: data.validation and data.validationFraction are both set, expected one of them",
    );
    expect(withData("  columns: { prompt: q }\n  promptTemplate: '{q}'")).toBe(
      "Cannot read sft.yaml:5:19: data.columns.prompt and data.promptTemplate are both set, expected one of them; a template names its columns itself",
    );
    expect(withData("  columns: { text: q, prompt: p }")).toBe(
      "Cannot read sft.yaml:3:3: data maps columns to both text and prompt or completion, expected one kind of row",
    );
    expect(withData("  system: Hi")).toBe(
      "Cannot read sft.yaml:4:11: data.system is set without data.asChat, expected asChat: true",
    );
  });

  it("refuses what is no configuration at all", () => {
    expect(refusal("")).toBe(
      'Cannot read sft.yaml: the file is empty, expected keys such as "model" and "data"',
    );
    expect(refusal("just words")).toBe(
      'Cannot read sft.yaml: the file holds no keys, expected keys such as "model" and "data"',
    );
    expect(refusal("model: [1\n")).toMatch(/^Cannot read sft.yaml:\d+:\d+: .*, expected valid YAML$/);
    expect(() => loadSftConfig("/no/such.yaml")).toThrow(
      new UserError("Cannot read /no/such.yaml: no such file, expected a YAML file"),
    );
  });

  it("takes paths from the file's own directory", () => {
    const directory = mkdtempSync(join(tmpdir(), "hone-config-"));
    const path = join(directory, "sft.yaml");
    writeFileSync(path, "model: ../m\ndata: { train: a.jsonl, validation: /b.jsonl }\n");
    const config = loadSftConfig(path);
    expect(config).toMatchObject({
      model: join(tmpdir(), "m"),
      output: directory,
      data: { train: join(directory, "a.jsonl"), validation: "/b.jsonl" },
    });
    rmSync(directory, { recursive: true });
  });

  it("hands the column names on", () => {
    const config = parse(`${MINIMAL}  columns: { completion: answer }\n  promptTemplate: "Q: {question}"\n`);
    expect(columnMappingOf(config)).toEqual({
      columns: { completion: "answer" },
      promptTemplate: "Q: {question}",
      asChat: false,
    });
  });
});

describe("describeConfig()", () => {
  it("has a row for every key, each with a type and a description", () => {
    const keys = configKeys(SftConfig);
    expect(keys.map(({ path }) => path)).toEqual(
      expect.arrayContaining(["model", "data.train", "data.columns.prompt", "lora.rank", "quantise.block"]),
    );
    for (const { path, type, description } of keys) {
      expect(`${path}: ${type}: ${description}`).toMatch(/^\S+: (?!any).+: \S.{5,}$/);
    }
    const table = describeConfig(SftConfig).split("\n");
    expect(table).toHaveLength(keys.length + 2);
    expect(table).toContain("| `eps` | number > 0 | `1e-8` | AdamW: added to the root |");
    expect(table).toContain(
      "| `model` | text | required | Directory of the model to train, in Hugging Face layout |",
    );
    expect(table).toContain("| `lora.rank` | whole number > 0 | `16` | Rank of the adapter |");
  });
});
