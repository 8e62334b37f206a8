/** Which pages of the cache are free, and how many sequences hold each of the others. */

export class PagePool {
  readonly #holders: Int32Array;
  /** Free pages, the next one last: pages used a moment ago are taken first, so that memory stays as small as it can. */
  readonly #free: number[];

  constructor(readonly size: number) {
    this.#holders = new Int32Array(size);
    this.#free = Array.from({ length: size }, (_, page) => size - 1 - page);
  }

  get free(): number {
    return this.#free.length;
  }

  take(): number {
    const page = this.#free.pop();
    if (page === undefined) throw new Error(`internal: all ${this.size} pages of the cache are taken`);
    this.#holders[page] = 1;
    return page;
  }

  /** One sequence more holds the page. */
  share(page: number): void {
    this.#holders[page]!++;
  }

  isShared(page: number): boolean {
    return this.#holders[page]! > 1;
  }

  release(page: number): void {
    if (--this.#holders[page]! === 0) this.#free.push(page);
  }
}
