import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { machineCpuSeconds, peakResidentBytes, processCpuSeconds } from "./machine.js";
import { type Contender, measureInTurn } from "./measure-in-turn.js";
import { startPythonPeer } from "./python-peer.js";

/** A contender whose n-th turn takes `times[n]`, and which notes that it was its turn. */
function scripted(name: string, times: readonly number[], order: string[]): Contender {
  let turn = 0;
  return {
    name,
    pids: [process.pid],
    seconds: async () => {
      order.push(name);
      return times[turn++]!;
    },
  };
}

/** CPU time, not time on the wall: the machine may be busy with other things. */
function burnCpu(milliseconds: number): void {
  const { user, system } = process.cpuUsage();
  const end = user + system + milliseconds * 1000;
  for (let now = 0; now < end; ) {
    const usage = process.cpuUsage();
    now = usage.user + usage.system;
  }
}

describe("measureInTurn", () => {
  it("alternates, forgets the warm-up and reports medians and percentiles", async () => {
    const order: string[] = [];
    const ours = scripted("ours", [99, 1, 2, 3, 4, 100], order);
    const peer = scripted("peer", [99, 10, 10, 20, 10, 10], order);
    const { timings } = await measureInTurn([ours, peer], { warmUps: 1, repeats: 5, restMs: 0 });
    expect(order).toEqual(Array.from({ length: 6 }, () => ["ours", "peer"]).flat());
    expect(timings).toEqual([
      { name: "ours", seconds: 3, p10: 1.4, p90: expect.closeTo(61.6, 9) },
      { name: "peer", seconds: 10, p10: 10, p90: 16 },
    ]);
  });

  it.skipIf(machineCpuSeconds() === null)(
    "counts the work of others as foreign, that of contenders not (needs /proc)",
    // Others may start or stop between the two measurements.
    { retry: 4 },
    async () => {
      const busy = (pids: number[]): Contender => ({
        ...{ name: "busy", pids },
        seconds: async () => {
          burnCpu(400);
          return 1;
        },
      });
      const options = { warmUps: 0, repeats: 1, restMs: 0 };
      const own = await measureInTurn([busy([process.pid])], options);
      const foreign = await measureInTurn([busy([])], options);
      expect(foreign.foreignCores! - own.foreignCores!).toBeGreaterThan(0.3);
    },
  );
});

describe("machine", () => {
  it.skipIf(machineCpuSeconds() === null)("reads the CPU time and peak memory of this process", () => {
    const before = processCpuSeconds(process.pid)!;
    burnCpu(300);
    expect(processCpuSeconds(process.pid)! - before).toBeGreaterThan(0.2);
    const peak = peakResidentBytes();
    const block = new Uint8Array(200e6).fill(1);
    expect(peakResidentBytes() - peak).toBeGreaterThan(100e6);
    expect(block[7]).toBe(1);
    expect(processCpuSeconds(2 ** 22 + 1)).toBeNull();
  });
});

describe("startPythonPeer", () => {
  let directory = "";
  const script = (source: string): string => {
    const path = join(directory, `${Math.floor(performance.now() * 1000)}.cjs`);
    writeFileSync(path, source);
    return path;
  };
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "hone-peer-"));
  });
  afterAll(() => {
    rmSync(directory, { recursive: true });
  });

  // The protocol is the same whoever speaks it, so Node stands in for Python, which the tests do without.
  it("keeps one process alive and asks it step by step", async () => {
    const peer = await startPythonPeer(
      process.execPath,
      script(`
        console.log("{'loss': 1}");
        console.log(JSON.stringify({ peer: "torch " + process.argv[2] }));
        let steps = 0;
        require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
          console.log("noise");
          console.log(JSON.stringify({ seconds: line === "step" ? ++steps : -1, peakBytes: 7e6 }));
        });`),
      ["tiny"],
    );
    expect(peer.name).toBe("torch tiny");
    expect(await peer.seconds()).toBe(1);
    expect(await peer.seconds()).toBe(2);
    expect(peer.peakBytes()).toBe(7e6);
    await peer.close();
    expect(processCpuSeconds(peer.pids[0]!)).toBeNull();
  });

  it("says why a peer ended", async () => {
    const dying = script(`process.stderr.write("ModuleNotFoundError: torch\\n"); process.exit(3)`);
    await expect(startPythonPeer(process.execPath, dying, [])).rejects.toThrow(
      /^Cannot measure peer .*: it ended with exit code 3\nModuleNotFoundError: torch/,
    );
    await expect(startPythonPeer(join(directory, "nowhere"), dying, [])).rejects.toThrow("it did not start");
  });

  it("refuses an answer that is no time", async () => {
    const peer = await startPythonPeer(
      process.execPath,
      script(
        `console.log('{"peer":"x"}'); process.stdin.on("data", () => console.log('{"error":"out of memory"}'))`,
      ),
      [],
    );
    await expect(peer.seconds()).rejects.toThrow("seconds");
    await peer.close();
  });
});
