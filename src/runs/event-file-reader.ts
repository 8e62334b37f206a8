/** Reads the scalars of a TensorBoard event file, checking both CRCs of every record. */
import { maskedCrc, type ScalarEvent } from "./event-file.js";

/** The scalar events of `bytes`; a record cut short at the end, as a kill leaves it, ends the list. */
export function readScalars(bytes: Buffer): ScalarEvent[] {
  const events: ScalarEvent[] = [];
  for (let offset = 0; offset + 16 <= bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(offset));
    const end = offset + 12 + length;
    if (bytes.readUInt32LE(offset + 8) !== maskedCrc(bytes.subarray(offset, offset + 8))) {
      throw new RangeError(`Cannot read event file: the length at byte ${offset} does not fit its checksum`);
    }
    if (end + 4 > bytes.length) break;
    const payload = bytes.subarray(offset + 12, end);
    if (bytes.readUInt32LE(end) !== maskedCrc(payload)) {
      throw new RangeError(`Cannot read event file: the record at byte ${offset} does not fit its checksum`);
    }
    const event = scalarEvent(payload);
    if (event !== undefined) events.push(event);
    offset = end + 4;
  }
  return events;
}

interface Field {
  readonly number: number;
  /** A varint's value, or the bytes of any other field. */
  readonly value: number | Buffer;
}

function scalarEvent(payload: Buffer): ScalarEvent | undefined {
  let wallTime = 0;
  let step = 0;
  let scalars: Record<string, number> | undefined;
  for (const { number, value } of fieldsOf(payload)) {
    if (number === 1 && typeof value !== "number") wallTime = value.readDoubleLE();
    if (number === 2 && typeof value === "number") step = value;
    if (number === 5 && typeof value !== "number") {
      scalars = Object.fromEntries(fieldsOf(value).map((summary) => tagAndValue(summary.value)));
    }
  }
  return scalars && { wallTime, step, scalars };
}

function tagAndValue(summary: number | Buffer): [string, number] {
  const fields = typeof summary === "number" ? [] : fieldsOf(summary);
  const bytes = (number: number): Buffer => {
    const value = fields.find((field) => field.number === number)?.value;
    if (value instanceof Buffer) return value;
    throw new RangeError(`Cannot read event file: a summary value lacks field ${number}`);
  };
  return [bytes(1).toString("utf8"), bytes(2).readFloatLE()];
}

function fieldsOf(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let offset = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = bytes.readUInt8(offset++);
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (offset < bytes.length) {
    const key = varint();
    const sizes: Record<number, () => number> = { 1: () => 8, 2: varint, 5: () => 4 };
    if ((key & 7) === 0) fields.push({ number: key >>> 3, value: varint() });
    else {
      const size = sizes[key & 7]?.();
      if (size === undefined) throw new RangeError(`Cannot read event file: unknown wire type ${key & 7}`);
      fields.push({ number: key >>> 3, value: bytes.subarray(offset, (offset += size)) });
    }
  }
  return fields;
}
