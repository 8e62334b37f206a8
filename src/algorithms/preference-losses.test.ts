import { describe, expect, it } from "vitest";
import { cpoLoss, dpoLoss, ktoLoss, orpoLoss, rewardLoss } from "./preference-losses.js";

describe("preference losses by TRL's names", () => {
  it("have TRL's defaults", () => {
    expect(dpoLoss()).toEqual({
      lossFn: "dpo",
      lossFnConfig: { sigmoid: 1, beta: 0.1, label_smoothing: 0 },
      nll: null,
      needsReference: true,
    });
    expect(cpoLoss()).toEqual({
      lossFn: "cpo",
      lossFnConfig: { beta: 0.1, label_smoothing: 0, cpo_alpha: 1, sigmoid: 1 },
      nll: "answer",
      needsReference: false,
    });
    expect(orpoLoss()).toEqual({
      lossFn: "orpo",
      lossFnConfig: { beta: 0.1 },
      nll: "sequence",
      needsReference: false,
    });
    expect(ktoLoss()).toMatchObject({
      lossFnConfig: { beta: 0.1, desirable_weight: 1, undesirable_weight: 1 },
      needsKl: true,
    });
    expect(rewardLoss()).toMatchObject({
      lossFn: "bradley_terry",
      lossFnConfig: { center_rewards_coefficient: 0 },
    });
  });

  it("several DPO types have a weight each, and ask for nll weights when sft is among them", () => {
    const { lossFnConfig, nll } = dpoLoss({ lossType: ["hinge", "sft"], lossWeights: [0.7, 2] });
    expect(lossFnConfig).toEqual({ sigmoid: 0, hinge: 0.7, sft: 2, beta: 0.1, label_smoothing: 0 });
    expect(nll).toBe("answer");
    expect(() => dpoLoss({ lossType: ["hinge"], lossWeights: [1, 2] })).toThrow(
      "expected one weight per type",
    );
    expect(() => dpoLoss({ lossType: ["hinge", "hinge"] })).toThrow("names a type twice");
  });

  it("CPO's simpo is a loss of its own, and apo_zero_unpaired needs no KL", () => {
    expect(cpoLoss({ lossType: "simpo", cpoAlpha: 0, beta: 2 })).toEqual({
      lossFn: "simpo",
      lossFnConfig: { beta: 2, label_smoothing: 0, cpo_alpha: 0, simpo_gamma: 0.5 },
      nll: null,
      needsReference: false,
    });
    expect(ktoLoss({ lossType: "apo_zero_unpaired" }).needsKl).toBe(false);
  });

  it("refuse unknown keys and a label smoothing of a half", () => {
    // @ts-expect-error a key that is none
    expect(() => dpoLoss({ betas: 1 })).toThrow("betas");
    expect(() => cpoLoss({ labelSmoothing: 0.5 })).toThrow();
  });
});
