/** What running requests may use together: rows of a step, and pages of the cache set aside for their longest end. */

export interface Share {
  readonly rows: number;
  readonly pages: number;
}

export class Budget {
  #rows: number;
  #pages: number;

  constructor({ rows, pages }: Share) {
    this.#rows = rows;
    this.#pages = pages;
  }

  /** Takes the share if all of it is there. */
  reserve({ rows, pages }: Share): boolean {
    if (rows > this.#rows || pages > this.#pages) return false;
    this.#rows -= rows;
    this.#pages -= pages;
    return true;
  }

  giveBack({ rows, pages }: Share): void {
    this.#rows += rows;
    this.#pages += pages;
  }
}
