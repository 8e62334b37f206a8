/**
 * TensorBoard event files: records of {length, masked CRC-32C of it, payload, masked CRC-32C of that}, the payloads
 * protobuf `Event` messages with scalar summaries. Writing and reading; knows nothing about runs.
 */
import { closeSync, openSync, writeSync } from "node:fs";

/** One event as far as scalars go. `wallTime` is in seconds since 1970. */
export interface ScalarEvent {
  readonly wallTime: number;
  readonly step: number;
  readonly scalars: Readonly<Record<string, number>>;
}

export interface EventFile {
  write(event: ScalarEvent): void;
  close(): void;
}

/**
 * Begins an event file. It opens with the format's version and a session start, which makes a TensorBoard that is
 * watching forget steps it read before from a file that is gone.
 */
export function createEventFile(path: string, wallTime: number): EventFile {
  const handle = openSync(path, "wx");
  const begin = message(doubleField(1, wallTime), bytesField(3, utf8("brain.Event:2")));
  const sessionStart = message(doubleField(1, wallTime), bytesField(7, varintField(1, 1)));
  writeSync(handle, Buffer.concat([record(begin), record(sessionStart)]));
  return {
    write: (event) => void writeSync(handle, record(scalarEvent(event))),
    close: () => closeSync(handle),
  };
}

function scalarEvent({ wallTime, step, scalars }: ScalarEvent): Buffer {
  const values = Object.entries(scalars).map(([tag, value]) =>
    bytesField(1, message(bytesField(1, utf8(tag)), floatField(2, value))),
  );
  return message(doubleField(1, wallTime), varintField(2, step), bytesField(5, message(...values)));
}

function record(payload: Uint8Array): Buffer {
  const framed = Buffer.alloc(payload.length + 16);
  framed.writeBigUInt64LE(BigInt(payload.length), 0);
  framed.writeUInt32LE(maskedCrc(framed.subarray(0, 8)), 8);
  framed.set(payload, 12);
  framed.writeUInt32LE(maskedCrc(payload), 12 + payload.length);
  return framed;
}

// ---- protobuf: a field is (number << 3 | wire type), then a varint (0), 8 bytes (1), a length and bytes (2), 4 bytes (5)

const message = (...fields: readonly Uint8Array[]): Buffer => Buffer.concat(fields);
const utf8 = (text: string): Uint8Array => Buffer.from(text, "utf8");

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return [...bytes, rest];
}

function varintField(field: number, value: number): Buffer {
  return Buffer.from([field << 3, ...varint(value)]);
}

function bytesField(field: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...varint(bytes.length)]), bytes]);
}

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(9);
  bytes[0] = (field << 3) | 1;
  bytes.writeDoubleLE(value, 1);
  return bytes;
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = (field << 3) | 5;
  bytes.writeFloatLE(value, 1);
  return bytes;
}

// ---- CRC-32C (Castagnoli, reflected polynomial 0x82f63b78)

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc;
});

/** CRC-32C of `bytes`, unsigned. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** TFRecord's mask, so that a CRC stored inside checked data does not spoil the check. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
