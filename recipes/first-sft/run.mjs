/** The first run: data, a tokenizer and a model from nothing, training, and a look at what was learned. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const build = join(here, "build");
const hone = join(here, "../../dist/cli/main.js");

function run(...command) {
  console.log(`\n$ ${command.map((part) => part.replace(hone, "hone").replace(here, ".")).join(" ")}`);
  const { status } = spawnSync(process.execPath, command, { stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

rmSync(build, { recursive: true, force: true });
mkdirSync(build);
run(join(here, "make-data.mjs"), join(build, "data.jsonl"));
run(hone, "tokenizer", "train", join(build, "data.jsonl"), "-o", join(build, "tokenizer"), "--vocab-size", "512", "--field", "prompt,completion");
run(hone, "init-model", join(build, "base"), "--tokenizer", join(build, "tokenizer"), "--hidden", "128", "--layers", "4", "--heads", "4");
run(hone, "train", "sft", "-c", join(here, "sft.yaml"));
run(hone, "sample", join(build, "runs/sft-1/model"), "--greedy", "--prompt", "Question: How many ships have a crew above 17?\nSQL: ", "--max-tokens", "40");
