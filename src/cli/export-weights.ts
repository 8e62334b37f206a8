/** The trained weights beside a run's checkpoints, for whoever uses the model: whole or not at all. */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TrainingClient } from "../protocol/index.js";

/** Writes the client's weights to `name` in `runDirectory`, replacing what a killed export left; answers the path. */
export async function exportWeights(
  client: TrainingClient,
  runDirectory: string,
  name: string,
): Promise<string> {
  const target = join(runDirectory, name);
  const aside = join(runDirectory, `.${name}.new`);
  rmSync(aside, { recursive: true, force: true });
  await client.saveWeights(aside);
  if (existsSync(target)) rmSync(target, { recursive: true });
  renameSync(aside, target);
  return target;
}
