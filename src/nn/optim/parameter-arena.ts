/**
 * Where trainable numbers live: parameters, gradients and AdamW's two moments in memory that our kernels may touch.
 * WebAssembly sees only its own memory, so the arrays are handed out from here and never move. Knows no names or shapes.
 */
import { UserError } from "../../base/index.js";
import { type AdamwStep, adamwFactors, adamwKernel, KERNEL_STRIDE_BYTES } from "./adamw.js";
import { addIntoKernel, sumOfSquaresKernel } from "./gradient-kernels.js";
import { assembleModule } from "./wasm-assembler.js";

/** All arrays start at 0 and 64-byte boundaries; `parameters[i]`, `gradients[i]`… have `sizes[i]` elements. */
export interface ParameterArena {
  readonly parameters: readonly Float32Array<ArrayBuffer>[];
  readonly gradients: readonly Float32Array<ArrayBuffer>[];
  readonly firstMoments: readonly Float32Array<ArrayBuffer>[];
  readonly secondMoments: readonly Float32Array<ArrayBuffer>[];
  /** Σ g² over all gradients, in float64; the same gradients give the same bits. */
  sumOfSquares(): number;
  /** Whether any gradient is NaN or infinite. */
  hasNonFinite(): boolean;
  /** Updates every parameter and both moments in place. Gradients stay as they are. */
  adamwStep(options: AdamwStep): void;
  /** target ← target + source, where `target` is an array of this arena (or part of one) and `source` any array. */
  accumulate(target: Float32Array, source: Float32Array): void;
  zeroGradients(): void;
}

export interface ParameterArenaOptions {
  /** Memories are filled up to this size; a further one is opened after it. @default 3.5 GB */
  readonly maxMemoryBytes?: number;
}

/** One memory: a staging block, then four regions of equal length for p, g, m and v. */
interface Group {
  readonly memory: WebAssembly.Memory;
  readonly kernels: Kernels;
  readonly regionBytes: number;
}

type Kernels = Readonly<Record<"adamw" | "sumOfSquares" | "addInto", (...values: number[]) => number>>;

const PAGE_BYTES = 65536;
const FLOAT_BYTES = 4;
const REGIONS = 4;
/** Foreign arrays pass through here to be added; small enough to stay in the second-level cache. */
const STAGING_BYTES = PAGE_BYTES;
/** A kernel call covers at most this much, so that V8 swaps in optimised code within the first step. */
const CALL_BYTES = 1 << 20;

/**
 * Allocates arrays for parameters of these sizes (element counts).
 * @throws UserError when one parameter alone passes the limit of a memory: its arrays cannot be split.
 */
export function createParameterArena(
  sizes: readonly number[],
  { maxMemoryBytes = 3.5e9 }: ParameterArenaOptions = {},
): ParameterArena {
  const module = new WebAssembly.Module(
    assembleModule({ adamw: adamwKernel(), sumOfSquares: sumOfSquaresKernel(), addInto: addIntoKernel() }),
  );
  const views: Float32Array<ArrayBuffer>[][] = Array.from({ length: REGIONS }, () => []);
  const groups: Group[] = [];
  for (const members of groupsOf(sizes, maxMemoryBytes)) {
    const group = createGroup(module, members);
    groups.push(group);
    views.forEach((arrays, region) => {
      let offset = STAGING_BYTES + region * group.regionBytes;
      for (const size of members) {
        arrays.push(new Float32Array(group.memory.buffer, offset, size));
        offset += paddedBytes(size);
      }
    });
  }
  const [parameters, gradients, firstMoments, secondMoments] = views as [
    Float32Array<ArrayBuffer>[],
    Float32Array<ArrayBuffer>[],
    Float32Array<ArrayBuffer>[],
    Float32Array<ArrayBuffer>[],
  ];

  const sumOfSquares = (): number => {
    let sum = 0;
    for (const { kernels, regionBytes } of groups) {
      const start = STAGING_BYTES + regionBytes;
      for (const [from, to] of callRanges(regionBytes)) {
        const quarter = (to - from) / 4;
        const a = start + from;
        sum += kernels.sumOfSquares(a, a + quarter, a + 2 * quarter, a + 3 * quarter, a + 4 * quarter);
      }
    }
    return sum;
  };

  return {
    parameters,
    gradients,
    firstMoments,
    secondMoments,
    sumOfSquares,
    // Squares of finite float32 stay far below float64's largest number, so only NaN or ∞ can spoil the sum.
    hasNonFinite: () => !Number.isFinite(sumOfSquares()),
    adamwStep(options) {
      const f = adamwFactors(options);
      for (const { kernels, regionBytes } of groups) {
        for (const [from, to] of callRanges(regionBytes)) {
          const p = STAGING_BYTES + from;
          kernels.adamw(
            ...[p, p + regionBytes, p + 2 * regionBytes, p + 3 * regionBytes, STAGING_BYTES + to],
            ...[f.gradientScale, f.oneMinusBeta1, f.beta2, f.oneMinusBeta2],
            ...[f.inverseRootCorrection2, f.eps, f.stepSize, f.decay],
          );
        }
      }
    },
    accumulate(target, source) {
      const group = groups.find(({ memory }) => memory.buffer === target.buffer);
      if (group === undefined) {
        throw new RangeError("Cannot accumulate: target is not in this arena, expected one of its arrays");
      }
      if (target.length !== source.length) {
        throw new RangeError(
          `Cannot accumulate: target has ${target.length} elements and source ${source.length}, expected equal`,
        );
      }
      addInto(group, target, source);
    },
    zeroGradients() {
      for (const gradient of gradients) gradient.fill(0);
    },
  };
}

/** Consecutive parameters, as many as fit one memory. */
function groupsOf(sizes: readonly number[], maxMemoryBytes: number): number[][] {
  const groups: number[][] = [];
  let usedBytes = Number.POSITIVE_INFINITY;
  sizes.forEach((size, i) => {
    if (!Number.isInteger(size) || size < 1) {
      throw new RangeError(
        `Cannot create arena: size of parameter ${i} is ${size}, expected a positive integer`,
      );
    }
    const bytes = REGIONS * paddedBytes(size);
    if (STAGING_BYTES + bytes > maxMemoryBytes) {
      throw new UserError(
        `Cannot train parameter ${i}: its ${size} elements need ${(bytes / 1e9).toFixed(1)} GB with gradient and optimizer ` +
          `state, expected at most ${(maxMemoryBytes / 1e9).toFixed(1)} GB for one parameter. Train with LoRA instead`,
      );
    }
    if (usedBytes + bytes > maxMemoryBytes) {
      groups.push([]);
      usedBytes = STAGING_BYTES;
    }
    groups.at(-1)!.push(size);
    usedBytes += bytes;
  });
  return groups;
}

function createGroup(module: WebAssembly.Module, sizes: readonly number[]): Group {
  const regionBytes = sizes.reduce((sum, size) => sum + paddedBytes(size), 0);
  const pages = Math.ceil((STAGING_BYTES + REGIONS * regionBytes) / PAGE_BYTES);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  // The module exports exactly these functions, which its type cannot know.
  return { memory, kernels: instance.exports as Kernels, regionBytes };
}

/** The padding after an array stays 0 for ever: an idle weight of 0 with gradient 0 does not move. */
function paddedBytes(size: number): number {
  return Math.ceil((size * FLOAT_BYTES) / KERNEL_STRIDE_BYTES) * KERNEL_STRIDE_BYTES;
}

function* callRanges(regionBytes: number): Generator<readonly [from: number, to: number]> {
  for (let from = 0; from < regionBytes; from += CALL_BYTES) {
    yield [from, Math.min(from + CALL_BYTES, regionBytes)];
  }
}

/** Copies `source` block by block into the group's memory (the cache, in effect) and adds it there. */
function addInto({ memory, kernels }: Group, target: Float32Array, source: Float32Array): void {
  const whole = target.byteOffset % 16 === 0 ? target.length - (target.length % 4) : 0;
  const isInside = source.buffer === memory.buffer && source.byteOffset % 16 === 0;
  const blockElements = (isInside ? CALL_BYTES : STAGING_BYTES) / FLOAT_BYTES;
  const staging = new Float32Array(memory.buffer, 0, STAGING_BYTES / FLOAT_BYTES);
  for (let from = 0; from < whole; from += blockElements) {
    const to = Math.min(from + blockElements, whole);
    if (!isInside) staging.set(source.subarray(from, to));
    kernels.addInto(
      target.byteOffset + from * FLOAT_BYTES,
      isInside ? source.byteOffset + from * FLOAT_BYTES : 0,
      target.byteOffset + to * FLOAT_BYTES,
    );
  }
  for (let i = whole; i < target.length; i++) target[i] = target[i]! + source[i]!;
}
