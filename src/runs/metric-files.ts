/**
 * A run's metrics as files for people and tools: `metrics.jsonl` and TensorBoard event files. They are projections of
 * the store: when a run is opened they are written anew from it, so that no kill can leave the three apart.
 */
import { closeSync, fsyncSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Disk, replaceFile } from "./disk.js";
import { createEventFile } from "./event-file.js";
import type { MetricRecord } from "./records.js";

/** What one call of `Run.logMetrics` logged. */
export interface MetricEntry {
  readonly step: number;
  readonly metrics: Readonly<Record<string, number>>;
  /** Rates, durations, memory: what the machine did, not what was learned. */
  readonly machine: Readonly<Record<string, number>>;
  readonly wallTime: string;
}

export interface MetricFiles {
  append(entry: MetricEntry): void;
  /** Forces what was appended to the device. */
  sync(): void;
  close(): void;
}

export const METRICS_NAME = "metrics.jsonl";
const EVENT_FILE = /tfevents/;

/** Writes both files of `runDirectory` anew with `entries` and keeps them open for more. */
export function openMetricFiles(
  disk: Disk,
  runDirectory: string,
  { entries, now }: { readonly entries: readonly MetricEntry[]; readonly now: Date },
): MetricFiles {
  for (const name of readdirSync(runDirectory)) {
    if (EVENT_FILE.test(name)) disk.remove(join(runDirectory, name));
  }
  replaceFile(disk, runDirectory, METRICS_NAME, entries.map(metricLine).join(""));
  const lines = openSync(join(runDirectory, METRICS_NAME), "a");
  const seconds = now.getTime() / 1000;
  const events = createEventFile(
    join(runDirectory, `events.out.tfevents.${seconds.toFixed(3)}.hone`),
    seconds,
  );
  const writeEvent = ({ step, metrics, machine, wallTime }: MetricEntry): void =>
    events.write({ step, wallTime: Date.parse(wallTime) / 1000, scalars: { ...metrics, ...machine } });
  entries.forEach(writeEvent);
  return {
    append(entry) {
      writeSync(lines, metricLine(entry));
      writeEvent(entry);
    },
    sync: () => fsyncSync(lines),
    close() {
      closeSync(lines);
      events.close();
    },
  };
}

/** The entries that `records`, ordered by entry, came from. */
export function entriesOf(records: readonly MetricRecord[]): MetricEntry[] {
  const entries = new Map<
    number,
    MetricEntry & { metrics: Record<string, number>; machine: Record<string, number> }
  >();
  for (const { entry, step, name, value, isMachine, wallTime } of records) {
    const own = entries.get(entry) ?? { step, metrics: {}, machine: {}, wallTime };
    own[isMachine ? "machine" : "metrics"][name] = value;
    entries.set(entry, own);
  }
  return [...entries.values()];
}

/** One line of `metrics.jsonl`. JSON has no infinities and no NaN; they are written as strings. */
export function metricLine({ step, metrics, machine, wallTime }: MetricEntry): string {
  const plain = (_: string, value: unknown): unknown =>
    typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  return `${JSON.stringify({ step, metrics, machine, wallTime }, plain)}\n`;
}
