/**
 * One session of an RL run on the letters task (tests/rl/letter-env.mjs), as `hone train grpo` does it: begins the run
 * of a project or goes on with it, and brings it to its end.
 * Arguments: PROJECT, RUN or "-".
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createTrainingClient } from "../../dist/engine/index.js";
import { createPlainFormat } from "../../dist/rollouts/index.js";
import { openRunStore } from "../../dist/runs/index.js";
import { RlConfig, runRl } from "../../dist/training/index.js";
import { createLetterEnv, letterModel, letterTokenizer } from "../rl/letter-env.mjs";

const [project, id] = process.argv.slice(2);
const config = RlConfig.parse(JSON.parse(readFileSync(join(project, "rl.json"), "utf8")));
const store = openRunStore(project);
const run =
  id === "-"
    ? store.createRun({ method: config.algorithm, config, seed: config.seed, versions: {}, dataHashes: {} })
    : store.resumeRun(id);
const client = await createTrainingClient({
  model: { config: letterModel, seed: config.seed },
  ...(config.lora === undefined ? {} : { lora: config.lora, seed: config.seed }),
});
const sampler = await client.samplingClient();
const set = createLetterEnv();
const result = await runRl({
  client,
  source: { sampler, set, format: createPlainFormat(letterTokenizer) },
  tokenizer: letterTokenizer,
  ...(config.settings.beta > 0 ? { reference: { client, withoutAdapter: true } } : {}),
  tasks: set.tasks,
  validationTasks: set.tasks.filter(({ id }) => id.endsWith("0")),
  config,
  recorder: run,
  clock: () => performance.now(),
  resumeFrom: id === "-" ? undefined : run.latestCheckpoint()?.directory,
  resumeCommand: "none",
});
if (result.status === "finished") await client.saveWeights(join(run.directory, "model"));
run.close(result.status === "finished" ? "finished" : "interrupted");
store.close();
await sampler.close();
await client.close();
if (result.status !== "finished") throw new Error(result.message);
