/**
 * Seeded random numbers: the only source of randomness in the program.
 * The state is four 32-bit words, so a checkpoint can hold it and a resumed run continues the same stream.
 */

/** The four words of xoshiro128**'s state. */
export type RandomState = readonly [number, number, number, number];

/*
 * Tables of the ziggurat (Marsaglia and Tsang, J. Stat. Softw. 5(8), 2000): the normal density cut into 128 layers of
 * equal area. Layer i reaches from the density at its outer edge to that of layer i + 1; layer 0 holds the tail.
 */
const LAYERS = 128;
/** Where the tail begins, and the area of a layer, for 128 layers (the paper's constants). */
const TAIL = 3.442619855899;
const AREA = 9.91256303526217e-3;
const density = (x: number): number => Math.exp(-0.5 * x * x);

const outerEdges = ((): number[] => {
  const edges = [AREA / density(TAIL), TAIL];
  for (let layer = 2; layer < LAYERS; layer++) {
    const last = edges[layer - 1]!;
    edges.push(Math.sqrt(-2 * Math.log(AREA / last + density(last))));
  }
  return [...edges, 0];
})();
/** Signed 24-bit integers times this are uniform across the layer. */
const WIDTHS = Float64Array.from(outerEdges, (edge) => edge / 2 ** 23);
/** Nearer to 0 than this, a point of the layer lies under the curve for sure. */
const EDGES = Float64Array.from(outerEdges.slice(1));
const DENSITIES = Float64Array.from(outerEdges, density);

/** xoshiro128** (Blackman and Vigna, 2018) seeded by splitmix32. */
export class Random {
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  constructor(seed: number) {
    let mixed = seed >>> 0;
    const next = (): number => {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let z = mixed;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return (z ^ (z >>> 15)) >>> 0;
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next();
  }

  static fromState(state: RandomState): Random {
    const random = new Random(0);
    [random.#a, random.#b, random.#c, random.#d] = state;
    return random;
  }

  get state(): RandomState {
    return [this.#a, this.#b, this.#c, this.#d];
  }

  /** An independent generator for a named purpose; it does not advance this one. */
  fork(purpose: string): Random {
    let hash = 0x811c9dc5;
    for (const unit of purpose) hash = Math.imul(hash ^ unit.codePointAt(0)!, 0x01000193);
    return new Random((hash ^ this.#a ^ Math.imul(this.#d, 0x85ebca6b)) >>> 0);
  }

  /** A uniform integer in [0, 2³²). */
  uint32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** A uniform number in [0, 1) with 53 random bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 67108864 + (this.uint32() >>> 6)) / 9007199254740992;
  }

  /** A uniform integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** A draw from the standard normal distribution. */
  normal(): number {
    for (;;) {
      const bits = this.uint32();
      const layer = bits & (LAYERS - 1);
      // Layer and position come from different bits of the draw.
      const x = ((bits | 0) >> 8) * WIDTHS[layer]!;
      if (Math.abs(x) < EDGES[layer]!) return x;
      const accepted = layer === 0 ? this.#tail(bits) : this.#wedge(layer, x);
      if (accepted !== undefined) return accepted;
    }
  }

  /** Fills `values` with draws of the normal distribution of mean 0 and the given standard deviation. */
  fillNormal(values: Float32Array, standardDeviation: number): void {
    for (let i = 0; i < values.length; i++) values[i] = standardDeviation * this.normal();
  }

  /** Beyond the base layer's edge (Marsaglia, 1964). */
  #tail(bits: number): number {
    for (;;) {
      const x = -Math.log(1 - this.uniform()) / TAIL;
      const y = -Math.log(1 - this.uniform());
      if (2 * y > x * x) return (bits | 0) < 0 ? -(TAIL + x) : TAIL + x;
    }
  }

  /** The part of a layer that sticks out under the curve. */
  #wedge(layer: number, x: number): number | undefined {
    const [below, above] = [DENSITIES[layer]!, DENSITIES[layer + 1]!];
    return below + this.uniform() * (above - below) < Math.exp(-0.5 * x * x) ? x : undefined;
  }

  /** A new array with the same items in random order (Fisher–Yates). */
  shuffled<T>(items: readonly T[]): T[] {
    const order = [...items];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j] as T, order[i] as T];
    }
    return order;
  }
}
