/** A loss by its name with a config that fits it: the door for callers' names and numbers. */
import { UserError } from "../base/index.js";
import type { LossFnConfig, LossFnName } from "../protocol/index.js";
import type { Loss } from "./loss.js";
import { LOSSES } from "./losses.js";

/** The loss, of whose optional inputs those have become required that this config needs; and the config with its defaults. */
export function readLoss(
  lossFn: LossFnName,
  given: LossFnConfig = {},
): { readonly loss: Loss; readonly lossConfig: LossFnConfig } {
  if (!Object.hasOwn(LOSSES, lossFn))
    throw new UserError(
      `Cannot train with "${String(lossFn)}": no such loss, expected one of ${Object.keys(LOSSES).join(", ")}`,
    );
  const loss = LOSSES[lossFn];
  for (const [key, value] of Object.entries(given)) {
    const refuse = (what: string): UserError =>
      new UserError(`Cannot train with "${lossFn}": config key "${key}" is ${what}`);
    if (!Object.hasOwn(loss.defaults, key))
      throw refuse(`unknown, expected ${Object.keys(loss.defaults).join(", ") || "none"}`);
    if (!Number.isFinite(value)) throw refuse(`${value}, expected a finite number`);
    const choices = loss.choices?.[key];
    if (choices !== undefined && !choices.includes(value))
      throw refuse(`${value}, expected one of ${choices.join(", ")}`);
  }
  const lossConfig = { ...loss.defaults, ...given };
  const refusal = loss.refusal?.(lossConfig) ?? null;
  if (refusal !== null) throw new UserError(`Cannot train with "${lossFn}": ${refusal}`);
  const required = loss.required?.(lossConfig) ?? [];
  const optional = Object.fromEntries(
    Object.entries(loss.optional).filter(([name]) => !required.includes(name)),
  );
  return { loss: { ...loss, optional }, lossConfig };
}
