/**
 * The trainer's state on disk: the weights in the layout other programs read, and beside them AdamW's moments and
 * the step, without which a resumed run would not be the same run.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { messageOf, UserError } from "../base/index.js";
import { openSafetensors, writeFileAside, writeSafetensors } from "../tensor/index.js";
import type { ModelSpec } from "./training-graph.js";
import type { Weights } from "./weights.js";

const MOMENTS = "optimizer.safetensors";
const STATE = "trainer_state.json";

const TrainerState = z.strictObject({
  format: z.literal(1),
  optimizerStep: z.int().nonnegative(),
  lora: z
    .object({ rank: z.number(), alpha: z.number(), rsLora: z.boolean(), targets: z.array(z.string()) })
    .nullable(),
});

/** Writes the optimizer's part of a state into `folder`, which holds the weights already. */
export function writeOptimizerState(
  folder: string,
  spec: ModelSpec,
  weights: Weights,
  optimizerStep: number,
): void {
  const tensors = weights.trainable.flatMap(({ name, shape }) => {
    const { firstMoment, secondMoment } = weights.slot(name);
    return [
      { name: `first_moment.${name}`, dtype: "F32" as const, shape, read: () => firstMoment },
      { name: `second_moment.${name}`, dtype: "F32" as const, shape, read: () => secondMoment },
    ];
  });
  writeSafetensors(join(folder, MOMENTS), tensors);
  const state: z.infer<typeof TrainerState> = {
    format: 1,
    optimizerStep,
    lora: spec.lora === null ? null : { ...spec.lora, targets: [...spec.lora.targets] },
  };
  writeFileAside(join(folder, STATE), (sink) =>
    sink.write(Buffer.from(`${JSON.stringify(state, null, 2)}\n`)),
  );
}

export interface OptimizerState {
  readonly optimizerStep: number;
  readonly fillMoments: () => void;
  readonly close: () => void;
}

/**
 * Opens the optimizer's part of a state and checks all of it, so that a bad one changes nothing.
 *
 * @throws UserError when the state is damaged or belongs to another model or adapter
 */
export function openOptimizerState(folder: string, spec: ModelSpec, weights: Weights): OptimizerState {
  const refuse = (what: string): UserError => new UserError(`Cannot load state "${folder}": ${what}`);
  const path = join(folder, STATE);
  if (!existsSync(path)) throw refuse(`it has no ${STATE}, expected a folder that saveState wrote`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (thrown) {
    throw refuse(`${STATE} is no JSON (${messageOf(thrown)})`);
  }
  const parsed = TrainerState.safeParse(json);
  if (!parsed.success)
    throw refuse(
      `${STATE} field "${parsed.error.issues[0]!.path.join(".")}": ${parsed.error.issues[0]!.message}`,
    );
  const written = JSON.stringify(parsed.data.lora);
  const current = JSON.stringify(spec.lora);
  if (written !== current) throw refuse(`it was made with adapter ${written}, expected ${current}`);
  const moments = weights.trainable.flatMap(({ name, shape }) => {
    const { firstMoment, secondMoment } = weights.slot(name);
    return [
      { key: `first_moment.${name}`, shape, target: firstMoment },
      { key: `second_moment.${name}`, shape, target: secondMoment },
    ];
  });
  const file = openSafetensors(join(folder, MOMENTS));
  try {
    const scratch = new Float32Array(Math.max(...moments.map(({ target }) => target.length)));
    for (const { key, shape, target } of moments) {
      const entry = file.tensors.get(key);
      if (entry?.shape.join() !== shape.join())
        throw refuse(
          `${MOMENTS} has ${entry === undefined ? "no" : `shape [${entry.shape.join(", ")}] for`} "${key}", expected [${shape.join(", ")}]`,
        );
      file.readInto(key, scratch.subarray(0, target.length), { rejectNonFinite: true });
    }
  } catch (thrown) {
    file.close();
    throw thrown;
  }
  return {
    optimizerStep: parsed.data.optimizerStep,
    fillMoments: () => {
      for (const { key, target } of moments) file.readInto(key, target);
    },
    close: () => file.close(),
  };
}
