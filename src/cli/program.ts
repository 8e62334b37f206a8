/** The commands and options of `hone`. Each command's code is loaded when it runs, so that `--help` answers at once. */
import { readFileSync } from "node:fs";
import { Command, Option } from "commander";
import { addData } from "./data-program.js";
import { MODEL_FAMILIES, MODEL_SIZES } from "./model-sizes.js";
import { nameList, numberBetween, wholeNumber } from "./number-options.js";

/** The whole command line. Failures throw: `CommanderError` for the line itself, anything else from the command. */
export function createProgram(): Command {
  const program = new Command("hone")
    .description("Post-training for language models: train, evaluate and gate open models from Node")
    .version(ownVersion(), "-V, --version")
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ sortSubcommands: false });
  addInitModel(program);
  addTokenizer(program);
  addConvert(program);
  addData(program, jsonOption);
  addTrain(program);
  addEvaluate(program);
  addRun(program);
  addRuns(program);
  addSample(program);
  addDoctor(program);
  return program;
}

const projectOption = (): Option =>
  new Option("--project <dir>", "directory that holds .hone and runs").default(
    process.cwd(),
    "this directory",
  );
const choice = (flags: string, text: string, choices: readonly string[], fallback: string): Option =>
  new Option(flags, text).choices(choices).default(fallback);
const jsonOption = (): Option => new Option("--json", "print machine-readable lines on standard output");

function addInitModel(program: Command): void {
  program
    .command("init-model <dir>")
    .description("make a model with fresh weights")
    .requiredOption("--tokenizer <dir>", "tokenizer of the model; its files are copied")
    .addOption(choice("--family <name>", "architecture", MODEL_FAMILIES, "llama"))
    .addOption(choice("--size <name>", "named sizes", Object.keys(MODEL_SIZES), "tiny"))
    .option("--hidden <n>", "hidden size, instead of the named size's", wholeNumber(1))
    .option("--layers <n>", "layers, instead of the named size's", wholeNumber(1))
    .option("--heads <n>", "attention heads, instead of the named size's", wholeNumber(1))
    .option("--kv-heads <n>", "key and value heads (default: as many as heads)", wholeNumber(1))
    .option("--ffn <n>", "feed-forward width (default: the named size's, or 8/3 of --hidden)", wholeNumber(1))
    .option("--context <n>", "longest sequence, in tokens", wholeNumber(1), 2048)
    .option("--tie-embeddings", "one matrix for input and output", false)
    .option("--seed <n>", "of the random weights", wholeNumber(0), 42)
    .addOption(choice("--dtype <name>", "how weights are stored", ["float32", "bfloat16"], "float32"))
    .addOption(jsonOption())
    .action(async (dir, options) => (await import("./commands/init-model.js")).initModel(dir, options));
}

function addTokenizer(program: Command): void {
  const tokenizer = program.command("tokenizer").description("make a tokenizer");
  tokenizer
    .command("train <files...>")
    .description("byte-level BPE from texts: .jsonl files, or plain text")
    .requiredOption("-o, --output <dir>", "where the tokenizer goes: a new or empty directory")
    .requiredOption("--vocab-size <n>", "tokens in all: special tokens, 256 bytes and merges", wholeNumber(1))
    .option("--field <names>", "columns of .jsonl files that hold text, separated by commas", nameList)
    .option("--min-frequency <n>", "a pair seen less often is not merged", wholeNumber(1), 2)
    .option("--chat", "add ChatML's turn tokens and its chat template", false)
    .addOption(jsonOption())
    .action(async (files, options) =>
      (await import("./commands/tokenizer-train.js")).trainTokenizer(files, options),
    );
}

function addConvert(program: Command): void {
  program
    .command("convert <source> <dir>")
    .description("bring a llama2.c (.bin) or GGUF (.gguf) model into Hugging Face layout")
    .option("--tokenizer <path>", "llama2.c's tokenizer.bin, or a directory with tokenizer.json")
    .addOption(
      choice("--dtype <name>", "how weights are stored", ["float32", "float16", "bfloat16"], "float32"),
    )
    .addOption(jsonOption())
    .action(async (source, dir, options) =>
      (await import("./commands/convert.js")).convert(source, dir, options),
    );
}

function addEvaluate(program: Command): void {
  program
    .command("evaluate <model>")
    .description("answer questions about databases, and score the SQL as Spider does")
    .requiredOption("--data <folder>", "questions and databases in Spider's layout")
    .option("--split <name>", "sft, rl, validation or test", "test")
    .option("--adapter <dir>", "a PEFT adapter on top of the model")
    .option("--against <model>", "compare with this model by paired bootstrap")
    .addOption(choice("--prompt <form>", "how questions are put", ["schema", "compact"], "schema"))
    .option("--list-tables", "compact prompts list tables and columns", false)
    .option("--corrections <n>", "further answers after a statement that fails", wholeNumber(0), 0)
    .option("--limit <n>", "questions at most", wholeNumber(1))
    .option("--max-tokens <n>", "tokens of an answer at most", wholeNumber(1), 256)
    .option("-o, --output <dir>", "where report.md, report.html and report.json go, with every answer")
    .option("--threads <n>", "processor threads (default: all)", wholeNumber(1))
    .addOption(jsonOption())
    .action(async (model, options) => (await import("./commands/evaluate.js")).evaluate(model, options));
}

function addRun(program: Command): void {
  program
    .command("run <recipe>")
    .description("do a recipe's steps in order; finished ones are not done again")
    .option("--quick", "the recipe's small settings: minutes instead of hours", false)
    .option("--set <key=value>", "change a setting of the recipe, such as data=spider", collect, [])
    .option("--until <step>", "stop after this step")
    .option("-o, --output <dir>", "where everything goes (default: build in the recipe's directory)")
    .addOption(jsonOption())
    .action(async (recipe, options) => (await import("./commands/run.js")).run(recipe, options));
}

function addRuns(program: Command): void {
  const runs = program.command("runs").description("show the runs of a project");
  runs
    .command("list", { isDefault: true })
    .description("one line per run")
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (options) => (await import("./commands/runs.js")).listRuns(options));
  runs
    .command("show <run>")
    .description("configuration, origin, checkpoints and events of a run")
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (run, options) => (await import("./commands/runs.js")).showRun(run, options));
  runs
    .command("metrics <run>")
    .description("metrics of a run, a row per step")
    .option("--name <metric...>", "only these metrics")
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (run, options) => (await import("./commands/runs.js")).showMetrics(run, options));
  runs
    .command("rollouts <run>")
    .description("what a run's policy said and what it earned")
    .option("--step <n>", "only those of this step", wholeNumber(0))
    .option("--task <id>", "only those of this task")
    .option("--jsonl <file>", "write them there, tokens and logprobs too, one JSON object per line")
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (run, options) => (await import("./commands/runs.js")).showRollouts(run, options));
}

function addTrain(program: Command): void {
  const train = program.command("train").description("train a model");
  train
    .command("sft")
    .description("supervised fine-tuning: full, LoRA or QLoRA")
    .option("-c, --config <file>", "configuration in YAML (docs/sft.md)")
    .option("--resume <run>", "go on with a stopped run, such as sft-1")
    .option("--set <key=value>", "change a key of the configuration, such as lora.rank=8", collect, [])
    .option("--dry-run", "load and check everything, do one step, write nothing", false)
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (options) => (await import("./commands/train-sft.js")).trainSft(options));
  train
    .command("grpo")
    .description("reinforcement learning from executed rewards: GRPO and its relatives")
    .option("-c, --config <file>", "configuration in YAML (docs/rl.md); its key algorithm picks the method")
    .option("--resume <run>", "go on with a stopped run, such as grpo-1")
    .option("--set <key=value>", "change a key of the configuration, such as groupSize=16", collect, [])
    .option("--dry-run", "load and check everything, do two steps, write nothing", false)
    .addOption(projectOption())
    .addOption(jsonOption())
    .action(async (options) => (await import("./commands/train-grpo.js")).trainGrpo(options));
  for (const [method, text] of Object.entries(PREFERENCE_COMMANDS)) {
    train
      .command(method)
      .description(text)
      .option("-c, --config <file>", "configuration in YAML (docs/preferences.md)")
      .option("--resume <run>", `go on with a stopped run, such as ${method}-1`)
      .option("--set <key=value>", "change a key of the configuration, such as beta=0.2", collect, [])
      .option("--dry-run", "load and check everything, do two steps, write nothing", false)
      .addOption(projectOption())
      .addOption(jsonOption())
      .action(async (options) =>
        // The keys of the table are the methods' names.
        (await import("./commands/train-preference.js")).trainPreference(
          method as keyof typeof PREFERENCE_COMMANDS,
          options,
        ),
      );
  }
}

const PREFERENCE_COMMANDS = {
  dpo: "preferences, against a reference: DPO, IPO, hinge, robust and others",
  orpo: "preferences and supervised training in one, without a reference",
  cpo: "preferences without a reference, with supervised training beside",
  reward: "a reward model on preferences, with a report on held-out pairs",
  simpo: "preferences by the mean logprob of a token, without a reference",
};

function addSample(program: Command): void {
  const fraction = numberBetween(0, 1);
  program
    .command("sample <model>")
    .description("complete a prompt or those of a file, or talk with a model (docs/sampling.md)")
    .option("--prompt <text>", "what to continue")
    .option("--file <path>", "prompts: .jsonl rows with prompt or messages, or text with one per line")
    .option(
      "--chat",
      "prompts are messages to the model's chat template; without prompts, a conversation",
      false,
    )
    .option("--system <text>", "the system's message of a chat")
    .option("--adapter <folder>", "a PEFT adapter, or name=folder; repeat it to compare several", collect, [])
    .option("--n <n>", "samples of each prompt", wholeNumber(1), 1)
    .option(
      "--max-tokens <n>",
      "tokens to add at most (default: 200, as far as the model's positions go)",
      wholeNumber(1),
    )
    .option("--temperature <x>", "divides the logits; 0 is greedy (default: 1)", numberBetween(0, Infinity))
    .option("--top-k <n>", "draw from the n likeliest tokens only", wholeNumber(1))
    .option(
      "--top-p <x>",
      "draw from the fewest tokens that hold this probability",
      numberBetween(0, 1, true),
    )
    .option("--min-p <x>", "leave out tokens less likely than this times the likeliest", fraction)
    .option(
      "--repetition-penalty <x>",
      "above 1 makes tokens seen before less likely",
      numberBetween(0, Infinity, true),
    )
    .option("--stop <text>", "end after this text, \\n for a line's end; repeatable", collect, [])
    .option("--seed <n>", "another seed gives other samples", wholeNumber(0), 0)
    .option("--greedy", "always the likeliest token", false)
    .option("--beams <n>", "search among n beams; --n says how many of the best to show", wholeNumber(1))
    .option("--length-penalty <x>", "above 0 favours long beams (default: 1)", numberBetween(-100, 100))
    .option("--logprobs", "tell the logprob of every token", false)
    .option("--4bit", "hold the model's weights in 4 bits", false)
    .option("-o, --output <file>", "write samples to a new file of JSON Lines")
    .option("--threads <n>", "processor threads (default: all)", wholeNumber(1))
    .addOption(jsonOption())
    .action(async (model, options) => (await import("./commands/sample.js")).sample(model, options));
}

function addDoctor(program: Command): void {
  program
    .command("doctor")
    .description("check whether this machine can train, and how well")
    .addOption(jsonOption())
    .action(async (options) => (await import("./commands/doctor.js")).doctor(options));
}

const collect = (text: string, previous: readonly string[]): string[] => [...previous, text];

function ownVersion(): string {
  const parsed: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  if (typeof parsed === "object" && parsed !== null && "version" in parsed) return String(parsed.version);
  throw new Error("internal: package.json has no version");
}
