/** Reads a GGUF file's header front to back through one small window, and says at which byte something is wrong. */
import { UserError } from "../base/index.js";
import type { ByteFile } from "./byte-file.js";
import { GGUF_SCALARS, type GgufNumbers, type GgufScalarType } from "./gguf-types.js";

const WINDOW_BYTES = 2 ** 16;

/** Typed array of each scalar type, for arrays that are read as they lie in the file (little-endian hosts). */
const ARRAYS: Record<GgufScalarType, new (buffer: ArrayBuffer) => GgufNumbers> = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  bool: Uint8Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float64: Float64Array,
};

export class GgufCursor {
  readonly #window: Uint8Array;
  readonly #view: DataView;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #windowStart = 0;
  #windowEnd = 0;
  #position = 0;

  constructor(readonly file: ByteFile) {
    this.#window = new Uint8Array(Math.min(WINDOW_BYTES, file.sizeBytes));
    this.#view = new DataView(this.#window.buffer);
  }

  get position(): number {
    return this.#position;
  }

  error(position: number, found: string, expected: string): UserError {
    return new UserError(
      `Cannot read GGUF file "${this.file.path}": byte ${position} has ${found}, expected ${expected}`,
    );
  }

  uint8(): number {
    return this.#view.getUint8(this.#take(1, "a byte"));
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4, "a 32-bit number"), true);
  }

  uint64(): bigint {
    return this.#view.getBigUint64(this.#take(8, "a 64-bit number"), true);
  }

  /** A count of things that take at least `itemBytes` each, so that the rest of the file can hold them. */
  count(itemBytes: number, what: string): number {
    const start = this.#position;
    const count = this.uint64();
    const left = this.file.sizeBytes - this.#position;
    if (count * BigInt(itemBytes) > BigInt(left)) {
      throw this.error(
        start,
        `a count of ${count} ${what}`,
        `at most ${Math.floor(left / itemBytes)}, which fit in the ${left} bytes left of ${this.file.sizeBytes}`,
      );
    }
    return Number(count);
  }

  string(maxBytes = Number.POSITIVE_INFINITY): string {
    const start = this.#position;
    const length = this.count(1, "characters");
    if (length > maxBytes) throw this.error(start, `a key of ${length} bytes`, `at most ${maxBytes}`);
    const bytes = this.#bytes(length);
    try {
      return this.#decoder.decode(bytes);
    } catch (thrown) {
      if (!(thrown instanceof TypeError)) throw thrown;
      throw this.error(start, `a string of ${length} bytes that is not UTF-8`, "UTF-8");
    }
  }

  /** `length` numbers of one type; `count` has made sure that they lie in the file. */
  numbers(type: GgufScalarType, length: number): GgufNumbers {
    // A copy with a buffer of its own, because the window moves and a typed array wants an aligned start.
    const bytes = this.#bytes(length * GGUF_SCALARS[type].bytes);
    return new ARRAYS[type](bytes.slice().buffer);
  }

  /** The next `length` bytes, in the window where they fit, else in memory of their own. */
  #bytes(length: number): Uint8Array {
    if (length <= this.#window.length) {
      const start = this.#take(length, `${length} bytes`);
      return this.#window.subarray(start, start + length);
    }
    this.#expectLeft(length, `${length} bytes`);
    const bytes = new Uint8Array(length);
    this.file.readInto(bytes, this.#position);
    this.#position += length;
    return bytes;
  }

  /** Moves past `length` bytes and returns where in the window they are. */
  #take(length: number, what: string): number {
    this.#expectLeft(length, what);
    if (this.#position < this.#windowStart || this.#position + length > this.#windowEnd) {
      this.#windowStart = this.#position;
      this.#windowEnd = Math.min(this.#position + this.#window.length, this.file.sizeBytes);
      this.file.readInto(this.#window.subarray(0, this.#windowEnd - this.#windowStart), this.#windowStart);
    }
    const start = this.#position - this.#windowStart;
    this.#position += length;
    return start;
  }

  #expectLeft(length: number, what: string): void {
    const left = this.file.sizeBytes - this.#position;
    if (length <= left) return;
    throw this.error(this.#position, `the last ${left} bytes of the file`, `${what}. The file is truncated`);
  }
}
