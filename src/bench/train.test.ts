import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openSafetensors, sizeOf } from "../tensor/index.js";
import { type BenchContext, type ClosableContender, compare } from "./bench-context.js";
import { measureMemoryCase } from "./memory.js";
import { MODEL_SHAPES, type ModelShape } from "./model-shape.js";
import { startPythonPeer } from "./python-peer.js";
import { writeSftJob } from "./sft-job.js";

let directory = "";
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-bench-test-"));
});
afterAll(() => {
  rmSync(directory, { recursive: true });
});

function fixed(seconds: number): ClosableContender & { closed: boolean } {
  const contender = {
    ...{ name: "ours", pids: [process.pid], closed: false },
    seconds: async () => seconds,
    close: async () => {
      contender.closed = true;
    },
  };
  return contender;
}

const CONTEXT: BenchContext = {
  ...{ threads: 1, python: null, only: null, repeats: 3 },
  openTrainer: async () => fixed(0.5),
  openRuntime: () => Promise.reject(new Error("not needed")),
  note: () => undefined,
};

describe("compare", () => {
  it("divides the peer's time by ours and closes both", async () => {
    const script = join(directory, "peer.cjs");
    writeFileSync(
      script,
      `console.log('{"peer":"twice as slow"}'); process.stdin.on("data", () => console.log('{"seconds":1,"peakBytes":1}'));
       process.stdin.on("end", () => process.exit());`,
    );
    const ours = fixed(0.5);
    const peer = await startPythonPeer(process.execPath, script, []);
    const result = await compare(CONTEXT, "tiny", { ours, peer });
    expect(result).toMatchObject({
      ...{ name: "tiny", seconds: 0.5, peer: "twice as slow", peerSeconds: 1, ratio: 2 },
      ...{ spread: [0.5, 0.5], peerSpread: [1, 1] },
    });
    expect(ours.closed).toBe(true);
    await expect(peer.seconds()).rejects.toThrow();
  });

  it("says null for a peer that is not there", async () => {
    const result = await compare(CONTEXT, "tiny", { ours: fixed(0.25), peer: null });
    expect(result).toMatchObject({ seconds: 0.25, peer: null, peerSeconds: null, ratio: null });
  });
});

describe("measureMemoryCase", () => {
  it("tells a peak that includes what the trainer holds", async () => {
    const before = (await measureMemoryCase(CONTEXT, "qwen2.5-0.5b-lora-4bit")).peakBytes;
    const held: Uint8Array[] = [];
    const openTrainer = async () => {
      held.push(new Uint8Array(300e6).fill(1));
      return fixed(2);
    };
    const measured = await measureMemoryCase({ ...CONTEXT, openTrainer }, "qwen2.5-0.5b-lora-4bit");
    expect(measured.seconds).toBe(2);
    expect(measured.peakBytes - before).toBeGreaterThan(150e6);
    expect(held[0]![5]).toBe(1);
  });

  it("refuses a case that does not exist", async () => {
    await expect(measureMemoryCase(CONTEXT, "nothing")).rejects.toThrow('memory case "nothing"');
  });
});

describe("writeSftJob", () => {
  const shape: ModelShape = { ...MODEL_SHAPES.tiny, hiddenSize: 16, layers: 2, ffnWidth: 24, sequences: 3 };

  it("writes a whole model, and rows that fill the length to the token", () => {
    const job = writeSftJob(directory, shape, 2);
    const rows = readFileSync(job.dataFile, "utf8").trimEnd().split("\n");
    expect(rows).toHaveLength(6);
    // One byte a token, and the end of text after it.
    expect(rows.map((row) => JSON.parse(row).text.length)).toEqual(new Array(6).fill(127));
    const file = openSafetensors(job.modelDirectory);
    file.close();
    expect(file.tensors.get("model.layers.1.mlp.down_proj.weight")?.shape).toEqual([16, 24]);
    const linear = 4 * 16 * 16 + 3 * 16 * 24;
    const elements = [...file.tensors.values()].reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    expect(elements).toBe(2 * (512 * 16) + 2 * (linear + 2 * 16) + 16);
    const tokenizer = JSON.parse(readFileSync(join(directory, "tokenizer.json"), "utf8"));
    expect(tokenizer.model.vocab).toMatchObject({ a: 97, Ġ: 32, Ċ: 10, "</s>": 257 });
    expect(Object.keys(tokenizer.model.vocab)).toHaveLength(259);
  });

  it("writes the same bytes every time", () => {
    writeSftJob(directory, shape, 1);
    const first = readFileSync(join(directory, "model.safetensors"));
    writeSftJob(directory, shape, 1);
    expect(readFileSync(join(directory, "model.safetensors")).equals(first)).toBe(true);
  });
});
