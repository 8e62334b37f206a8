import { expect, it } from "vitest";
import { Random, UserError } from "../../src/base/index.js";
import { openGguf, openSafetensors, writeGguf, writeSafetensors } from "../../src/tensor/index.js";
import { type FuzzLibrary, fuzzHeaders } from "./headers.mjs";

const library: FuzzLibrary = { Random, UserError, openGguf, openSafetensors, writeGguf, writeSafetensors };

it("the readers answer 500 mutated headers per format with success or a UserError, within time and memory", () => {
  for (const result of fuzzHeaders(library, { cases: 500, seed: 1 })) {
    expect(result.opened + result.refused).toBe(500);
    // Both outcomes and many kinds of defect occur, or the mutations test nothing.
    expect(result.opened).toBeGreaterThan(5);
    expect(result.kinds).toBeGreaterThan(15);
  }
});

it("the fuzzer catches a reader that crashes, and one that allocates what the header claims", () => {
  const crashing = { ...library, openSafetensors: () => JSON.parse("not JSON") };
  expect(() => fuzzHeaders(crashing, { cases: 1, seed: 2 })).toThrow(
    "expected success or a UserError, found SyntaxError",
  );
  const greedy: FuzzLibrary = {
    ...library,
    openSafetensors(path) {
      new Uint8Array(2 ** 20);
      return openSafetensors(path);
    },
  };
  expect(() => fuzzHeaders(greedy, { cases: 1, seed: 2 })).toThrow("one allocation of 1048576 bytes");
});
