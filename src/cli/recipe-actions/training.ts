/** Training as a step of a recipe: a run in the step's own directory, which an interrupted step goes on with. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/index.js";
import type { Action, Outputs, StepContext } from "../../pipeline/index.js";
import { hasRunStore, openRunStore, type RunRecord } from "../../runs/index.js";
import { trainGrpo } from "../commands/train-grpo.js";
import { trainSft } from "../commands/train-sft.js";
import { leftOut } from "./arguments.js";

type Train = (options: {
  readonly config?: string;
  readonly resume?: string;
  readonly project: string;
  readonly set: readonly string[];
  readonly dryRun: boolean;
  readonly json: boolean;
}) => Promise<void>;

/** The arguments are the training's configuration, without `output`. */
function trainingAction(train: Train, version: number, json: boolean): Action {
  return {
    version,
    resumes: true,
    async run(context) {
      const before = runOf(context.directory);
      if (before?.status === "finished") return outputsOf(context.directory, before);
      const shared = { project: context.directory, set: [], dryRun: false, json };
      if (before === undefined) await train({ ...shared, config: writeConfig(context) });
      else {
        context.say(`goes on with run ${before.id}`);
        await train({ ...shared, resume: before.id });
      }
      const after = runOf(context.directory);
      if (after === undefined) throw new Error(`internal: no run in ${context.directory} after training`);
      return outputsOf(context.directory, after);
    },
  };
}

function writeConfig({ directory, arguments: given }: StepContext): string {
  if ("output" in given) {
    throw new UserError('Cannot train: the step names "output", expected none: a step has its own directory');
  }
  const path = join(directory, "config.yaml");
  // JSON is YAML.
  const config = { ...leftOut(given), output: directory };
  writeFileSync(path, `${JSON.stringify(config, null, 1)}\n`);
  return path;
}

/** The one run of the step's directory. */
function runOf(directory: string): RunRecord | undefined {
  if (!hasRunStore(directory)) return undefined;
  const store = openRunStore(directory);
  try {
    return store.runs().at(-1);
  } finally {
    store.close();
  }
}

function outputsOf(directory: string, { id, config }: RunRecord): Outputs {
  const isAdapter = config["lora"] !== undefined || config["adapter"] !== undefined;
  const weights = join(directory, "runs", id, isAdapter ? "adapter" : "model");
  return {
    run: id,
    // What a later step loads: a whole model, or the model that was trained with the adapter on top.
    model: isAdapter ? String(config["model"]) : weights,
    adapter: isAdapter ? weights : null,
  };
}

interface Said {
  /** Records instead of lines. */
  readonly json: boolean;
}

export const trainSftAction = ({ json }: Said): Action => trainingAction(trainSft, 1, json);
export const trainRlAction = ({ json }: Said): Action => trainingAction(trainGrpo, 1, json);
