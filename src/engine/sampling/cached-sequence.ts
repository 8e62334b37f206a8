/** The cached beginning of one sequence: which pages hold it, and how far it goes. Forking one copies nothing. */
import { CACHE_PAGE } from "../../graph/index.js";
import { type KvCache, pagesFor } from "./kv-cache.js";

export class CachedSequence {
  readonly #cache: KvCache;
  readonly #pages: number[];
  #length: number;

  private constructor(cache: KvCache, pages: number[], length: number) {
    this.#cache = cache;
    this.#pages = pages;
    this.#length = length;
  }

  static empty(cache: KvCache): CachedSequence {
    return new CachedSequence(cache, [], 0);
  }

  /** Tokens whose keys and values are in the cache. */
  get length(): number {
    return this.#length;
  }

  get pages(): readonly number[] {
    return this.#pages;
  }

  /** A sequence that goes its own way from here. Until then the two share every page. */
  fork(): CachedSequence {
    for (const page of this.#pages) this.#cache.pool.share(page);
    return new CachedSequence(this.#cache, [...this.#pages], this.#length);
  }

  /** Makes room for the next `tokens` tokens: new pages, and a page of its own where a shared one would be written. */
  prepare(tokens: number): void {
    const { pool } = this.#cache;
    const last = this.#pages.length - 1;
    if (this.#length % CACHE_PAGE !== 0 && pool.isShared(this.#pages[last]!)) {
      const own = pool.take();
      this.#cache.copyPage(this.#pages[last]!, own);
      pool.release(this.#pages[last]!);
      this.#pages[last] = own;
    }
    while (this.#pages.length < pagesFor(this.#length + tokens)) this.#pages.push(pool.take());
  }

  /** The prepared tokens are in the cache now. */
  advance(tokens: number): void {
    this.#length += tokens;
  }

  /** Gives its pages back. `spoilt`: what it computed are no numbers, and nobody must read them. */
  release(spoilt = false): void {
    for (const page of this.#pages) {
      if (spoilt && !this.#cache.pool.isShared(page)) this.#cache.clearPage(page);
      this.#cache.pool.release(page);
    }
    this.#pages.length = 0;
    this.#length = 0;
  }
}
