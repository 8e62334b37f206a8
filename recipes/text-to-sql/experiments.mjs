/**
 * Does GRPO gain anything that more SFT would not? For every seed: SFT, then GRPO from it; beside it SFT alone with as
 * much more time as GRPO took. Prints each seed's accuracies and paired bootstrap intervals, and those of all seeds
 * together (a question's score is its mean over the seeds).
 *
 * usage: node recipes/text-to-sql/experiments.mjs [--seeds 0,1,2] [--quick] [--set key=value]... [--output DIR]
 * Finished steps are not done again, so it may be stopped at any time, and seeds added later.
 */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { parse } from "yaml";
import { pairedBootstrap } from "../../dist/evals/index.js";

const here = import.meta.dirname;
const HONE = join(here, "../../dist/cli/main.js");
const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "0,1,2" },
    quick: { type: "boolean", default: false },
    set: { type: "string", multiple: true, default: [] },
    output: { type: "string", default: join(here, "build") },
  },
});
const recipe = parse(readFileSync(join(here, "recipe.yaml"), "utf8"));
const epochs = settingOf("sftEpochs");

const arms = { before: [], longer: [], after: [] };
for (const seed of values.seeds.split(",").map(Number)) {
  console.log(`\n── seed ${seed}`);
  const run = await hone([`seed=${seed}`]);
  const more = run.seconds.grpo / run.seconds.sft;
  const longer = Math.round(epochs * (1 + more));
  console.log(`SFT took ${run.seconds.sft.toFixed(0)} s, GRPO ${run.seconds.grpo.toFixed(0)} s: SFT alone gets ${longer} epochs instead of ${epochs}`);
  const matched = await hone([`seed=${seed}`, `sftEpochs=${longer}`], ["--until", "baseline"]);
  const scores = {
    before: readScores(run.outputs.baseline.report),
    longer: readScores(matched.outputs.baseline.report),
    after: readScores(run.outputs.evaluation.report),
  };
  for (const [arm, one] of Object.entries(scores)) arms[arm].push(one);
  tell(`seed ${seed}`, scores);
}
console.log("\n── all seeds");
tell("all seeds", Object.fromEntries(Object.entries(arms).map(([arm, seeds]) => [arm, average(seeds)])));

/** Runs the recipe with its output shown, and answers seconds and outputs of its steps. */
async function hone(settings, more = []) {
  const set = [...values.set, ...settings].flatMap((one) => ["--set", one]);
  const what = ["run", here, "--json", "--output", values.output, ...(values.quick ? ["--quick"] : []), ...set, ...more];
  const child = spawn(process.execPath, [HONE, ...what], { stdio: ["ignore", "pipe", "inherit"] });
  const seconds = {};
  const outputs = {};
  for await (const line of createInterface({ input: child.stdout })) {
    // Steps print lines of their own.
    if (!line.startsWith('{"type":"step_')) continue;
    const event = JSON.parse(line);
    if (event.type === "step_begun") console.log(`${event.step} …`);
    if (event.type === "step_line") console.log(`  ${event.line}`);
    if (event.type !== "step_done" && event.type !== "step_reused") continue;
    seconds[event.step] = event.seconds;
    outputs[event.step] = event.outputs;
  }
  const code = child.exitCode ?? (await new Promise((resolve) => child.once("close", resolve)));
  if (code !== 0) process.exit(code ?? 1);
  return { seconds, outputs };
}

/** 1 or 0 per question: as the databases are, and the share of fresh fillings where the data has some. */
function readScores(path) {
  const { items, fillings } = JSON.parse(readFileSync(path, "utf8"));
  const right = items.map(({ isExecutionMatch }) => Number(isExecutionMatch === true));
  const fresh = items.map((_, i) => fillings.filter((filling) => filling[i]).length / fillings.length);
  return { right, fresh: fillings.length === 0 ? null : fresh };
}

function average(seeds) {
  const mean = (key) => seeds[0][key]?.map((_, i) => seeds.reduce((sum, one) => sum + one[key][i], 0) / seeds.length) ?? null;
  return { right: mean("right"), fresh: mean("fresh") };
}

function tell(name, { before, longer, after }) {
  for (const [key, what] of [["right", "execution accuracy"], ["fresh", "on freshly filled databases"]]) {
    if (after[key] === null) continue;
    const share = (values) => `${((100 * values.reduce((a, b) => a + b, 0)) / values.length).toFixed(1)} %`;
    console.log(
      `${name}, ${what} (${after[key].length} questions): SFT ${share(before[key])}, SFT longer ${share(longer[key])}, GRPO ${share(after[key])}; GRPO over SFT ${gain(before[key], after[key])}, over SFT longer ${gain(longer[key], after[key])}`,
    );
  }
}

function gain(first, second) {
  const { difference, low, high } = pairedBootstrap(first, second, { seed: 0 });
  const signed = (value) => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(1)}`;
  return `${signed(difference)} [${signed(low)}, ${signed(high)}]`;
}

/** A setting as this run has it. */
function settingOf(name) {
  const given = values.set.filter((one) => one.startsWith(`${name}=`)).at(-1);
  if (given !== undefined) return parse(given.slice(name.length + 1));
  return values.quick ? (recipe.quick[name] ?? recipe.settings[name]) : recipe.settings[name];
}
