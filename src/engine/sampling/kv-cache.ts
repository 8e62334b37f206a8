/** Keys and values of running sequences, in pages that sequences share where they have begun alike. */
import { CACHE_PAGE } from "../../graph/index.js";
import type { ModelConfig } from "../../nn/index.js";
import type { HostTensor } from "../../tensor/index.js";
import { allocate } from "../executable.js";
import { PagePool } from "./page-pool.js";

/** Names of a layer's inputs to the graph. */
export const keysName = (layer: number): string => `cache.keys.${layer}`;
export const valuesName = (layer: number): string => `cache.values.${layer}`;

export const pagesFor = (tokens: number): number => Math.ceil(tokens / CACHE_PAGE);

/** Bytes that the keys and values of one token take. */
export const cacheBytesPerToken = ({ layers, kvHeads, headWidth }: ModelConfig): number =>
  2 * 4 * layers * kvHeads * headWidth;

export class KvCache {
  /** Inputs of every graph that reads the cache. Memory is taken by the system when a page is first written. */
  readonly tensors: Readonly<Record<string, HostTensor<"float32">>>;
  readonly pool: PagePool;
  readonly #layers: readonly { readonly keys: Float32Array; readonly values: Float32Array }[];
  readonly #kvHeads: number;
  readonly #headWidth: number;

  constructor({ layers, kvHeads, headWidth }: ModelConfig, pages: number) {
    this.pool = new PagePool(pages);
    this.#kvHeads = kvHeads;
    this.#headWidth = headWidth;
    const shape = [pages, CACHE_PAGE * kvHeads * headWidth];
    const tensors: Record<string, HostTensor<"float32">> = {};
    this.#layers = Array.from({ length: layers }, (_, layer) => {
      const [keys, values] = [allocate("float32", shape), allocate("float32", shape)];
      tensors[keysName(layer)] = keys;
      tensors[valuesName(layer)] = values;
      return { keys: keys.data, values: values.data };
    });
    this.tensors = tensors;
  }

  copyPage(from: number, to: number): void {
    const size = CACHE_PAGE * this.#kvHeads * this.#headWidth;
    for (const { keys, values } of this.#layers) {
      keys.copyWithin(to * size, from * size, (from + 1) * size);
      values.copyWithin(to * size, from * size, (from + 1) * size);
    }
  }

  /** Zeros, so that numbers that are none do not outlive the sequence that computed them. */
  clearPage(page: number): void {
    const size = CACHE_PAGE * this.#kvHeads * this.#headWidth;
    for (const { keys, values } of this.#layers) {
      keys.fill(0, page * size, (page + 1) * size);
      values.fill(0, page * size, (page + 1) * size);
    }
  }

  /** Puts row `row` of k and v [T, KV·K] into a page: what the native kernel does by itself. */
  store(
    layer: number,
    place: { readonly page: number; readonly slot: number },
    k: Float32Array,
    v: Float32Array,
    row: number,
  ): void {
    const { keys, values } = this.#layers[layer]!;
    const [kvHeads, width] = [this.#kvHeads, this.#headWidth];
    const page = place.page * CACHE_PAGE * kvHeads * width;
    for (let head = 0; head < kvHeads; head++) {
      const from = (row * kvHeads + head) * width;
      const keyAt = page + head * width * CACHE_PAGE + place.slot;
      for (let d = 0; d < width; d++) keys[keyAt + d * CACHE_PAGE] = k[from + d]!;
      values.set(v.subarray(from, from + width), page + (head * CACHE_PAGE + place.slot) * width);
    }
  }
}
