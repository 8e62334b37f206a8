/**
 * Opens mutated safetensors and GGUF files and demands: success or a UserError, nothing else; no case slow;
 * no allocation beyond the file's size. `npm run test:fuzz [cases per format] [seed]` runs it on the built package;
 * headers.test.ts runs a short version on the sources.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** A case that takes longer has hung, in practice: most take well under a millisecond. */
const MAX_CASE_MS = 2000;
/** Allocations that do not grow with what a header claims: an 8-byte length, an empty buffer, a converted scalar. */
const FIXED_BYTES = 64;
/** All allocations of a case together: the header's bytes, their copies, the sorted lists. */
const MAX_TOTAL = (fileBytes) => 8 * fileBytes + 4096;

const INTERESTING = [
  0n,
  1n,
  7n,
  8n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  0x100000000n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 61n,
  2n ** 62n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
];
const JSON_NUMBERS = [
  "-1",
  "0",
  "1",
  "1.5",
  "1e3",
  "1e400",
  "-0",
  "2147483648",
  "4294967296",
  "9007199254740991",
  "9007199254740993",
  "18446744073709551616",
  "1".repeat(400),
];
const JSON_PIECES = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "null",
  "true",
  '"F32"',
  '"F4"',
  '"__metadata__":{}',
  '"__proto__"',
  '"\\u0000"',
  '"\\ud800"',
  "\u00e9",
  "[[[[[[[[",
  '"dtype":"U8"',
  '"data_offsets":[0,0]',
  '"shape":[]',
  " ",
];

/**
 * @param {object} library the readers and writers under test, the error class, and the seeded generator
 * @param {{ cases: number, seed: number }} options cases per format
 */
export function fuzzHeaders(library, { cases, seed }) {
  const folder = mkdtempSync(join(tmpdir(), "hone-fuzz-"));
  const random = new library.Random(seed);
  try {
    return ["safetensors", "gguf"].map((format) => {
      const seeds = format === "gguf" ? ggufSeeds(library, folder) : safetensorsSeeds(library, folder);
      const open = format === "gguf" ? library.openGguf : library.openSafetensors;
      return fuzzFormat({ format, seeds, open, folder, cases, random, seed, UserError: library.UserError });
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function fuzzFormat({ format, seeds, open, folder, cases, random, seed, UserError }) {
  const result = { format, cases, opened: 0, refused: 0, slowestMs: 0, largestShare: 0, messages: new Set() };
  const path = join(folder, `case.${format}`);
  for (let i = 0; i < cases; i++) {
    const bytes = mutated(seeds[random.integer(seeds.length)], format, random);
    writeFileSync(path, bytes);
    const started = performance.now();
    const outcome = watchAllocations(() => attempt(() => readAll(open(path))));
    const elapsed = performance.now() - started;
    const fail = (what) => {
      const where = `${format} case ${i} of seed ${seed} (${bytes.length} bytes: ${bytes.toString("hex").slice(0, 400)})`;
      throw new Error(`${what} in ${where}`, { cause: outcome.thrown });
    };
    if (outcome.thrown === undefined) result.opened++;
    else if (outcome.thrown instanceof UserError) result.refused++;
    else fail(`expected success or a UserError, found ${String(outcome.thrown)}`);
    if (elapsed > MAX_CASE_MS) fail(`expected at most ${MAX_CASE_MS} ms, found ${elapsed.toFixed(0)} ms`);
    if (outcome.largest > bytes.length + FIXED_BYTES) fail(`one allocation of ${outcome.largest} bytes`);
    if (outcome.total > MAX_TOTAL(bytes.length)) fail(`allocations of ${outcome.total} bytes in all`);
    result.slowestMs = Math.max(result.slowestMs, elapsed);
    result.largestShare = Math.max(result.largestShare, outcome.largest / Math.max(1, bytes.length));
    if (outcome.thrown !== undefined) {
      // The kind of defect, without its numbers and names: shows that the mutations reach every check.
      const kind = outcome.thrown.message
        .replace(/^[^:]*: /, "")
        .replace(/"[^"]*"|\[[^\]]*\]|-?\d[\d.e+]*/g, "_");
      result.messages.add(kind.slice(0, 80));
    }
  }
  return { ...result, messages: undefined, kinds: result.messages.size };
}

/** Reads every tensor of a file that opened, as its bytes: a header that lies must not survive this far. */
function readAll(file) {
  try {
    for (const name of file.tensors.keys()) file.readRaw(name);
  } finally {
    file.close();
  }
}

function attempt(run) {
  try {
    run();
  } catch (thrown) {
    return thrown;
  }
  return undefined;
}

/**
 * Runs `run` with every constructor that takes a length replaced by one that adds it up. Only what code asks for by
 * number is seen; strings and lists grow with bytes really read, and the heap limit bounds them.
 */
function watchAllocations(run) {
  const names = [
    "ArrayBuffer",
    "SharedArrayBuffer",
    "Uint8Array",
    "Int8Array",
    "Uint16Array",
    "Int16Array",
    "Uint32Array",
    "Int32Array",
    "Float32Array",
    "Float64Array",
    "BigInt64Array",
    "BigUint64Array",
    "Array",
  ];
  let largest = 0;
  let total = 0;
  const record = (bytes) => {
    largest = Math.max(largest, bytes);
    total += bytes;
  };
  const originals = names.map((name) => globalThis[name]);
  const alloc = ["alloc", "allocUnsafe", "allocUnsafeSlow"].map((name) => [name, Buffer[name]]);
  for (const [i, name] of names.entries()) {
    globalThis[name] = new Proxy(originals[i], {
      construct(target, args, newTarget) {
        if (typeof args[0] === "number")
          record(args[0] * (target.BYTES_PER_ELEMENT ?? (name === "Array" ? 8 : 1)));
        return Reflect.construct(target, args, newTarget === globalThis[name] ? target : newTarget);
      },
    });
  }
  for (const [name, original] of alloc) {
    Buffer[name] = (size, ...rest) => {
      record(size);
      return original.call(Buffer, size, ...rest);
    };
  }
  try {
    return {
      thrown: run(),
      get largest() {
        return largest;
      },
      get total() {
        return total;
      },
    };
  } finally {
    for (const [i, name] of names.entries()) globalThis[name] = originals[i];
    for (const [name, original] of alloc) Buffer[name] = original;
  }
}

function mutated(seedBytes, format, random) {
  let bytes = Buffer.from(seedBytes);
  const rounds = 1 + random.integer(3);
  for (let i = 0; i < rounds; i++) {
    const kind = random.integer(format === "safetensors" ? 7 : 5);
    if (kind === 0) bytes = flipped(bytes, random);
    else if (kind === 1) bytes = bytes.subarray(0, random.integer(bytes.length + 1));
    else if (kind === 2) bytes = numberPlanted(bytes, random);
    else if (kind === 3) bytes = spliced(bytes, random);
    else if (kind === 4) bytes = lengthLie(bytes, format, random);
    else bytes = jsonMutated(bytes, random);
  }
  return bytes;
}

function flipped(bytes, random) {
  const copy = Buffer.from(bytes);
  const count = 1 + random.integer(4);
  for (let i = 0; i < count && copy.length > 0; i++)
    copy[random.integer(copy.length)] ^= 1 << random.integer(8);
  return copy;
}

/** Writes an interesting 32- or 64-bit number at any place. */
function numberPlanted(bytes, random) {
  const copy = Buffer.from(bytes);
  const value = INTERESTING[random.integer(INTERESTING.length)];
  const width = random.integer(2) === 0 ? 4 : 8;
  if (copy.length < width) return copy;
  const at = random.integer(copy.length - width + 1);
  if (width === 8) copy.writeBigUInt64LE(value, at);
  else copy.writeUInt32LE(Number(value & 0xffffffffn), at);
  return copy;
}

/** Removes, repeats or moves a run of bytes. */
function spliced(bytes, random) {
  const from = random.integer(bytes.length + 1);
  const run = bytes.subarray(from, from + random.integer(64));
  const to = random.integer(bytes.length + 1);
  const rest =
    random.integer(2) === 0
      ? bytes
      : Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + run.length)]);
  return Buffer.concat([rest.subarray(0, to), run, rest.subarray(to)]);
}

/** Lies in the fields that say how much follows. */
function lengthLie(bytes, format, random) {
  const copy = Buffer.from(bytes);
  const places = format === "safetensors" ? [0] : [8, 16, 24];
  const at = places[random.integer(places.length)];
  if (copy.length < at + 8) return copy;
  const near = copy.readBigUInt64LE(at) + BigInt(random.integer(17) - 8);
  const value =
    random.integer(2) === 0 ? BigInt.asUintN(64, near) : INTERESTING[random.integer(INTERESTING.length)];
  copy.writeBigUInt64LE(value, at);
  return copy;
}

/** Edits the JSON text and makes the length right again, so that the defect lies behind the first check. */
function jsonMutated(bytes, random) {
  if (bytes.length < 8) return bytes;
  const length = Number(bytes.readBigUInt64LE(0) & 0xffffffn);
  const text = bytes.subarray(8, 8 + length).toString("latin1");
  const pick = (list) => list[random.integer(list.length)];
  const numbers = [...text.matchAll(/\d+/g)];
  let edited;
  if (random.integer(2) === 0 && numbers.length > 0) {
    const match = pick(numbers);
    edited = text.slice(0, match.index) + pick(JSON_NUMBERS) + text.slice(match.index + match[0].length);
  } else {
    const at = random.integer(text.length + 1);
    edited = text.slice(0, at) + pick(JSON_PIECES) + text.slice(at + random.integer(3));
  }
  const body = Buffer.from(edited, "latin1");
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(body.length));
  return Buffer.concat([head, body, bytes.subarray(8 + length)]);
}

function safetensorsSeeds({ writeSafetensors }, folder) {
  const path = join(folder, "seed.safetensors");
  const tensor = (name, dtype, shape, bytes) => ({ name, dtype, shape, read: () => new Uint8Array(bytes) });
  const lists = [
    [],
    [tensor("w", "F32", [2, 3], 24)],
    [
      tensor("a", "F16", [4], 8),
      tensor("b", "I64", [1], 8),
      tensor("c", "BOOL", [3], 3),
      tensor("d", "BF16", [0], 0),
    ],
    Array.from({ length: 30 }, (_, i) => tensor(`model.layers.${i}.weight`, "F32", [2, 2], 16)),
  ];
  return lists.map((list, i) => {
    writeSafetensors(path, list, i % 2 === 0 ? { format: "pt" } : {});
    return readFileSync(path);
  });
}

function ggufSeeds({ writeGguf }, folder) {
  const path = join(folder, "seed.gguf");
  const tensor = (name, type, shape, count) => ({ name, type, shape, read: () => new Float32Array(count) });
  const metadata = {
    "general.architecture": { type: "string", value: "llama" },
    "general.alignment": { type: "uint32", value: 32 },
    "a.bool": { type: "bool", value: true },
    "a.uint64": { type: "uint64", value: 7n },
    "a.float64": { type: "float64", value: 0.5 },
    "a.tokens": { type: "array", of: "string", value: ["a", "bc", "", "\u4e16\u754c"] },
    "a.scores": { type: "array", of: "float32", value: Float32Array.of(1, 2, 3) },
    "a.nested": {
      type: "array",
      of: "array",
      value: [{ type: "array", of: "uint8", value: Uint8Array.of(1, 2) }],
    },
  };
  const lists = [
    [],
    [tensor("w", "F32", [2, 3], 6)],
    [tensor("a", "Q4_0", [2, 32], 64), tensor("b", "Q8_0", [1, 64], 64), tensor("c", "F16", [3], 3)],
    Array.from({ length: 12 }, (_, i) => tensor(`blk.${i}.attn_q.weight`, "Q4_0", [1, 32], 32)),
  ];
  return lists.flatMap((list) =>
    [{}, metadata].map((pairs) => {
      writeGguf(path, list, pairs);
      return readFileSync(path);
    }),
  );
}

async function main() {
  const base = await import("../../dist/base/index.js");
  const tensor = await import("../../dist/tensor/index.js");
  const [cases = 20_000, seed = 20261120] = process.argv.slice(2).map(Number);
  const before = process.memoryUsage();
  const started = performance.now();
  const results = fuzzHeaders({ ...base, ...tensor }, { cases, seed });
  const grownMb = (process.memoryUsage().rss - before.rss) / 2 ** 20;
  for (const { format, opened, refused, kinds, slowestMs, largestShare } of results) {
    console.log(
      `${format}: ${cases} mutated headers, ${opened} opened, ${refused} refused by UserError (${kinds} kinds of message), ` +
        `slowest ${slowestMs.toFixed(1)} ms, largest allocation ${largestShare.toFixed(2)} x file`,
    );
  }
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `fuzz: no crash, no hang, in ${seconds.toFixed(1)} s; seed ${seed}; RSS grew by ${grownMb.toFixed(0)} MB`,
  );
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await main();
