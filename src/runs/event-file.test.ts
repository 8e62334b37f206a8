import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { crc32c, createEventFile, maskedCrc } from "./event-file.js";

it("crc32c() gives the check value of the Castagnoli polynomial and RFC 3720's vectors", () => {
  expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
});

it("maskedCrc() rotates right by 15 and adds TFRecord's constant modulo 2^32", () => {
  // 0xe3069283 >>> 15 = 0x1c60d, << 17 = 0x25060000; or-ed 0x2507c60d; + 0xa282ead8 = 0xc78ab0e5
  expect(maskedCrc(Buffer.from("123456789"))).toBe(0xc78ab0e5);
});

it("createEventFile() writes byte for byte what TensorBoard 2.21's RecordWriter writes for the same events", () => {
  const path = join(mkdtempSync(join(tmpdir(), "hone-events-")), "events.out.tfevents.1.hone");
  const file = createEventFile(path, 1700000000.25);
  file.write({
    wallTime: 1700000001.5,
    step: 300,
    scalars: { "loss/nll": 1.25, "tokens/per_second": 1e4 },
  });
  file.close();
  // Made with tensorboard.summary.writer.record_writer and its protobuf classes.
  expect(readFileSync(path).toString("hex")).toBe(
    "1800000000000000a37f4b220900001040fc54d9411a0d627261696e2e4576656e743a32338d2fe9" +
      "0d000000000000003c37b8340900001040fc54d9413a0208018c8e54cd" +
      "39000000000000008b0737f10900006040fc54d94110ac022a2b0a0f0a086c6f73732f6e6c6c150000a03f" +
      "0a180a11746f6b656e732f7065725f7365636f6e641500401c4611ecb919",
  );
});
