/** Attention over pages: float64's numbers, and for each token the bits that it has computed alone. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { CACHE_PAGE } from "../../src/graph/index.js";
import { missing, openKernels } from "./library.js";
import { normals } from "./numbers.js";

interface Case {
  readonly heads: number;
  readonly kvHeads: number;
  readonly width: number;
  readonly window: number;
  /** Tokens of each sequence. */
  readonly lengths: readonly number[];
}

const CASES: readonly Case[] = [
  { heads: 4, kvHeads: 4, width: 64, window: 0, lengths: [70, 3, 17] },
  { heads: 6, kvHeads: 2, width: 20, window: 0, lengths: [33, 16, 1] },
  { heads: 5, kvHeads: 1, width: 4, window: 0, lengths: [130] },
  { heads: 2, kvHeads: 1, width: 8, window: 5, lengths: [90, 4, 40] },
  { heads: 2, kvHeads: 2, width: 132, window: 66, lengths: [150, 9] },
];

/** The tokens of all sequences, and pages dealt out of order. */
function inputsOf({ heads, kvHeads, width, window, lengths }: Case) {
  const random = new Random(3);
  const tableWidth = Math.ceil(Math.max(...lengths) / CACHE_PAGE);
  const pages = lengths.length * tableWidth + 2;
  const order = random.shuffled(Array.from({ length: pages }, (_, page) => page));
  const tokens = lengths.flatMap((length, sequence) =>
    Array.from({ length }, (_, position) => ({ sequence, position })),
  );
  const normal = (size: number): Float32Array => Float32Array.from(normals(random, size));
  return {
    shape: { heads, kv_heads: kvHeads, width, window, pages, table_width: tableWidth, scale: width ** -0.5 },
    tables: Int32Array.from(order.slice(0, lengths.length * tableWidth)),
    tokens,
    q: normal(tokens.length * heads * width),
    k: normal(tokens.length * kvHeads * width),
    v: normal(tokens.length * kvHeads * width),
  };
}

function reference(
  { heads, kvHeads, width, window }: Case,
  { tokens, q, k, v }: ReturnType<typeof inputsOf>,
) {
  const o = new Float64Array(q.length);
  tokens.forEach(({ sequence, position }, t) => {
    const first = t - position + (window === 0 ? 0 : Math.max(0, position - window + 1));
    expect(tokens[first]!.sequence).toBe(sequence);
    for (let head = 0; head < heads; head++) {
      const kv = (j: number): number => (j * kvHeads + Math.floor((head * kvHeads) / heads)) * width;
      const at = (t * heads + head) * width;
      const scores: number[] = [];
      for (let j = first; j <= t; j++) {
        let score = 0;
        for (let d = 0; d < width; d++) score += q[at + d]! * k[kv(j) + d]!;
        scores.push(score / Math.sqrt(width));
      }
      const most = Math.max(...scores);
      const total = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
      scores.forEach((score, n) => {
        for (let d = 0; d < width; d++)
          o[at + d]! += (Math.exp(score - most) / total) * v[kv(first + n) + d]!;
      });
    }
  });
  return o;
}

describe.skipIf(missing !== undefined)(
  `decode attention${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;
    const isas = missing === undefined ? kernels.isas : [];

    /** Runs the tokens in calls of the given groups over one cache, and returns all of o. */
    function run(test: Case, inputs: ReturnType<typeof inputsOf>, groups: readonly (readonly number[])[]) {
      const { shape, tables, tokens, q, k, v } = inputs;
      const page = CACHE_PAGE * test.kvHeads * test.width;
      const [keys, values] = [new Float32Array(shape.pages * page), new Float32Array(shape.pages * page)];
      const o = new Float32Array(q.length);
      const rowsOf = (x: Float32Array, group: readonly number[]): Float32Array => {
        const width = x.length / tokens.length;
        return Float32Array.from(group.flatMap((t) => [...x.subarray(t * width, (t + 1) * width)]));
      };
      for (const group of groups) {
        const out = new Float32Array(group.length * test.heads * test.width);
        kernels.run(
          "decode_attention_forward",
          { ...shape, tokens: group.length, sequences: test.lengths.length },
          rowsOf(q, group),
          rowsOf(k, group),
          rowsOf(v, group),
          keys,
          values,
          tables,
          Int32Array.from(group, (t) => tokens[t]!.sequence),
          Int32Array.from(group, (t) => tokens[t]!.position),
          out,
        );
        const width = test.heads * test.width;
        group.forEach((t, i) => void o.set(out.subarray(i * width, (i + 1) * width), t * width));
      }
      return o;
    }

    describe.each(isas)("on $name", ({ isa }) => {
      it.each(CASES)("of $heads/$kvHeads heads of $width, window $window, over $lengths tokens", (test) => {
        kernels.limit(isa);
        const inputs = inputsOf(test);
        const all = inputs.tokens.map((_, t) => t);
        const together = run(test, inputs, [all]);
        const expected = reference(test, inputs);
        together.forEach((value, i) => void expect(Math.abs(value - expected[i]!)).toBeLessThan(3e-6));
        // A token at a time, and steps that take the next token of every sequence.
        expect(
          run(
            test,
            inputs,
            all.map((t) => [t]),
          ),
        ).toEqual(together);
        const steps = Array.from({ length: Math.max(...test.lengths) }, (_, position) =>
          all.filter((t) => inputs.tokens[t]!.position === position),
        );
        expect(run(test, inputs, steps)).toEqual(together);
        kernels.limit(isas.at(-1)!.isa);
      });
    });

    describe.each(isas)("on $name", ({ isa }) => {
      it.each([
        [1, 1, 0],
        [2, 1, 0],
        [6, 2, 0],
        [2, 2, 100],
      ])(
        "sequences of %i/%i heads that share pages (window %i) compute what each does alone",
        (heads, kvHeads, window) => {
          kernels.limit(isa);
          const random = new Random(8);
          const [width, shared, forks] = [12, 9, 7];
          const page = CACHE_PAGE * kvHeads * width;
          const pages = shared + 3 * forks;
          const filled = [0, 1].map(() => Float32Array.from(normals(random, pages * page))) as [
            Float32Array,
            Float32Array,
          ];
          const tableWidth = shared + 3;
          const tables = Int32Array.from({ length: forks * tableWidth }, (_, i) => {
            const [fork, at] = [Math.floor(i / tableWidth), i % tableWidth];
            return at < shared ? shared - 1 - at : shared + 3 * fork + at - shared;
          });
          // Some have just left what they share, others are pages further.
          const positions = Array.from({ length: forks }, (_, fork) => shared * CACHE_PAGE + 7 * fork);
          const numbers = (count: number): Float32Array =>
            Float32Array.from(normals(random, forks * count * width));
          const [q, k, v] = [numbers(heads), numbers(kvHeads), numbers(kvHeads)];
          const step = (which: readonly number[]): Float32Array => {
            const rows = (x: Float32Array): Float32Array =>
              Float32Array.from(
                which.flatMap((fork) => [
                  ...x.subarray((fork * x.length) / forks, ((fork + 1) * x.length) / forks),
                ]),
              );
            const o = new Float32Array(which.length * heads * width);
            const shape = {
              heads,
              kv_heads: kvHeads,
              width,
              window,
              pages,
              table_width: tableWidth,
              scale: 0.3,
            };
            kernels.run(
              "decode_attention_forward",
              { ...shape, tokens: which.length, sequences: which.length },
              ...[rows(q), rows(k), rows(v), filled[0].slice(), filled[1].slice()],
              Int32Array.from(
                which.flatMap((fork) => [...tables.subarray(fork * tableWidth, (fork + 1) * tableWidth)]),
              ),
              Int32Array.from(which, (_, i) => i),
              Int32Array.from(which, (fork) => positions[fork]!),
              o,
            );
            return o;
          };
          const all = positions.map((_, fork) => fork);
          const alone = all.flatMap((fork) => [...step([fork])]);
          expect([...step(all)]).toEqual(alone);
          expect(new Set(alone).size).toBe(alone.length);
          kernels.limit(isas.at(-1)!.isa);
        },
      );
    });

    it("refuses a page that is not there, a sequence and a place beyond the table", () => {
      const test = CASES[0]!;
      const { shape, tables, q, k, v } = inputsOf(test);
      const page = CACHE_PAGE * test.kvHeads * test.width;
      const cache = new Float32Array(shape.pages * page);
      const status = (table: Int32Array, sequence: number, position: number): number =>
        kernels.status(
          "decode_attention_forward",
          { ...shape, tokens: 1, sequences: test.lengths.length },
          ...[q, k, v, cache.slice(), cache.slice(), table],
          Int32Array.of(sequence),
          Int32Array.of(position),
          new Float32Array(test.heads * test.width),
        );
      expect(status(tables, 0, 0)).toBe(0);
      expect(
        status(
          tables.map(() => shape.pages),
          0,
          0,
        ),
      ).toBe(3);
      expect(status(tables, test.lengths.length, 0)).toBe(3);
      expect(status(tables, 0, shape.table_width * CACHE_PAGE)).toBe(3);
      expect(status(tables, 0, -1)).toBe(3);
    });
  },
);
