import fc from "fast-check";
import { expect, it } from "vitest";
import { isJsonObject, type JsonValue, parseStrictJson } from "./strict-json.js";

/** Back to what JSON.parse gives. */
function plain(value: JsonValue): unknown {
  if (isJsonObject(value)) {
    return Object.fromEntries([...value].map(([key, member]) => [key, plain(member.value)]));
  }
  return Array.isArray(value) ? value.map(plain) : value;
}

it("parseStrictJson() agrees with JSON.parse on every JSON text", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 6 }), fc.nat(3), (text, indent) => {
      const pretty = JSON.stringify(JSON.parse(text), null, indent);
      expect(plain(parseStrictJson(pretty))).toEqual(JSON.parse(pretty));
    }),
    { seed: 3, numRuns: 500 },
  );
});

it("parseStrictJson() refuses what JSON.parse refuses, for texts one edit away from JSON", () => {
  const characters = fc.constantFrom(...'{}[]",:\\0123456789.eE+-tfn \n\u0000');
  const edited = fc.tuple(fc.json({ maxDepth: 3 }), fc.nat(), characters, fc.boolean());
  fc.assert(
    fc.property(edited, ([text, place, character, replace]) => {
      const at = place % (text.length + 1);
      const mutated = text.slice(0, at) + character + text.slice(at + (replace ? 1 : 0));
      let expected: unknown;
      try {
        expected = JSON.parse(mutated);
      } catch {
        expect(() => parseStrictJson(mutated)).toThrow();
        return;
      }
      try {
        expect(plain(parseStrictJson(mutated))).toEqual(expected);
      } catch (thrown) {
        expect(String(thrown)).toContain("a second key");
      }
    }),
    { seed: 4, numRuns: 2000 },
  );
});

it("parseStrictJson() refuses a repeated key and says where it stands", () => {
  expect(() => parseStrictJson('{"a": 1, "b": 2, "a": 3}')).toThrow(
    'a second key "a" at 17, expected each key once',
  );
  expect(() => parseStrictJson('{"a": 1, "\\u0061": 3}')).toThrow('a second key "a" at 9');
  expect(parseStrictJson('{"__proto__": 1}')).toEqual(new Map([["__proto__", { value: 1, position: 1 }]]));
});
