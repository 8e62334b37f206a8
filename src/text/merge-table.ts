/** Pairs of token ids to their merge: an open hash table, because this lookup is the inner loop of encoding. */

export class MergeTable {
  readonly #mask: number;
  /** Four numbers per slot: left, right, rank, merged; an empty slot has left -1. */
  readonly #slots: Int32Array;

  constructor(capacity: number) {
    let size = 16;
    while (size < capacity * 2) size *= 2;
    this.#mask = size - 1;
    this.#slots = new Int32Array(size * 4).fill(-1);
  }

  /** A later entry for the same pair replaces the earlier one. */
  set(left: number, right: number, rank: number, merged: number): void {
    const at = this.#find(left, right);
    this.#slots[at] = left;
    this.#slots[at + 1] = right;
    this.#slots[at + 2] = rank;
    this.#slots[at + 3] = merged;
  }

  /** @returns the rank of the merge, or -1 when the pair does not merge */
  rank(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 2]!;
  }

  /** @returns the id that the pair becomes, or -1 */
  merged(left: number, right: number): number {
    return this.#slots[this.#find(left, right) + 3]!;
  }

  #find(left: number, right: number): number {
    let at = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) >>> 0;
    at = (at ^ (at >>> 15)) & this.#mask;
    for (;;) {
      const slot = at * 4;
      const found = this.#slots[slot]!;
      if (found === -1 || (found === left && this.#slots[slot + 1] === right)) return slot;
      at = (at + 1) & this.#mask;
    }
  }
}
