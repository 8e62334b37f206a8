import { expect, it } from "vitest";
import { z } from "zod";
import { UserError } from "./errors.js";
import { parseSettings } from "./parse-settings.js";

const Schema = z.strictObject({
  data: z.string().min(1),
  turns: z.int().max(8).default(0),
  weights: z.strictObject({ execution: z.number().default(1) }).prefault({}),
});
const parse = (given: unknown) => parseSettings(Schema, given, "Cannot open it");

it("parseSettings() fills in defaults, of sections too", () => {
  expect(parse({ data: "d" })).toEqual({ data: "d", turns: 0, weights: { execution: 1 } });
});

it.each<[unknown, string]>([
  [
    { turns: 9, weights: { execution: "much" } },
    'Cannot open it: data is missing, expected text; turns is 9, expected at most 8; weights.execution is text "much", expected a number',
  ],
  [
    { data: "d", weights: { exekution: 1 } },
    'Cannot open it: unknown key "weights.exekution", expected one of execution',
  ],
  [{ data: "d", a: 1, b: 2 }, 'Cannot open it: unknown keys "a", "b", expected one of data, turns, weights'],
  [3, "Cannot open it: what is given is 3, expected an object"],
])("parseSettings() of %j throws one UserError with every fault", (given, message) => {
  let thrown: unknown;
  try {
    parse(given);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(UserError);
  expect((thrown as UserError).message).toBe(message);
});
