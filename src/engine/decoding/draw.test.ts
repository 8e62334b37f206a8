import { expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { createDrawToken } from "./draw.js";

const OFF = { temperature: 1, topK: -1, topP: 1, minP: 0, repetitionPenalty: 1 };

it("drawToken() reports logprobs worked by hand", () => {
  // Logits are logs of 8, 4, 2, 1, so probabilities 8/15 …; squared (temperature 1/2) 64, 16, 4, 1 of 85.
  const logits = Float32Array.from([8, 4, 2, 1], Math.log);
  const draw = createDrawToken(4);
  const random = new Random(1);
  const check = (params: Partial<typeof OFF>, kept: readonly number[]): void => {
    const total = kept.reduce((sum, weight) => sum + weight, 0);
    const seen = new Set<number>();
    for (let i = 0; i < 200; i++) {
      const { token, logprob, rawLogprob } = draw(logits, { ...OFF, ...params }, [], random);
      seen.add(token);
      expect(logprob).toBeCloseTo(Math.log(kept[token]! / total), 6);
      expect(rawLogprob).toBeCloseTo(Math.log([8, 4, 2, 1][token]! / 15), 6);
    }
    expect(seen.size).toBe(kept.filter((weight) => weight > 0).length);
  };
  check({}, [8, 4, 2, 1]);
  check({ temperature: 0.5 }, [64, 16, 4, 1]);
  check({ topK: 2 }, [8, 4, 0, 0]);
  // 8/15 = 0.533 does not reach 0.6; with 4/15 it does: the token that crosses stays.
  check({ topP: 0.6 }, [8, 4, 0, 0]);
  check({ topP: 0.5 }, [8, 0, 0, 0]);
  // Within the top 3, 8/14 = 0.571; temperature comes first: 64/84 = 0.762.
  check({ topK: 3, topP: 0.57 }, [8, 0, 0, 0]);
  check({ topK: 3, topP: 0.58 }, [8, 4, 0, 0]);
  check({ temperature: 0.5, topK: 3, topP: 0.77 }, [64, 16, 0, 0]);
  check({ minP: 0.2 }, [8, 4, 2, 0]);
  check({ minP: 0.6 }, [8, 0, 0, 0]);
});
