/** What a benchmark says at the end: a table for people and one line of JSON for programs (docs/benchmarks.md). */

export interface BenchResult {
  readonly name: string;
  readonly seconds: number | null;
  /** Which build of what, or null when no peer ran. */
  readonly peer: string | null;
  readonly peerSeconds: number | null;
  /** Peer time over ours: above 1 we are faster. Where docs/benchmarks.md says so, another ratio. */
  readonly ratio: number | null;
  readonly perSecond?: number;
  readonly peerPerSecond?: number;
  readonly peakBytes?: number;
  readonly peerPeakBytes?: number;
  /** [p10, p90] of our seconds. */
  readonly spread?: readonly [number, number];
  /** [p10, p90] of the peer's. */
  readonly peerSpread?: readonly [number, number];
  /** Cores kept busy by others while this was measured. */
  readonly foreignCores?: number;
}

export interface BenchReport {
  readonly bench: string;
  readonly machine: string;
  readonly results: readonly BenchResult[];
}

const COLUMNS = [
  "name",
  "ours",
  "p10–p90",
  "peer",
  "peer time",
  "p10–p90",
  "ratio",
  "rate",
  "peak",
  "others",
];

/** The report as aligned columns; a figure that was not taken is an empty cell. */
export function reportTable({ bench, machine, results }: BenchReport): string {
  const rows = results.map((result) => [
    result.name,
    time(result.seconds),
    range(result.spread),
    result.peer ?? "",
    time(result.peerSeconds),
    range(result.peerSpread),
    result.ratio === null ? "" : result.ratio.toFixed(2),
    result.perSecond === undefined ? "" : rate(result.perSecond, result.peerPerSecond),
    result.peakBytes === undefined ? "" : peak(result.peakBytes, result.peerPeakBytes),
    result.foreignCores === undefined ? "" : `${result.foreignCores.toFixed(2)} cores`,
  ]);
  const widths = COLUMNS.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const lines = [COLUMNS, ...rows].map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join("  ")
      .trimEnd(),
  );
  return [`${bench} on ${machine}`, ...lines].join("\n");
}

/** The report as one line; absent figures are null or left out, never 0. */
export function reportJson(report: BenchReport): string {
  return JSON.stringify(report, (_key, value: unknown) =>
    typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value,
  );
}

function time(seconds: number | null): string {
  if (seconds === null) return "";
  return seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.1 ? 2 : 1)} ms` : `${seconds.toFixed(2)} s`;
}

function range(spread: readonly [number, number] | undefined): string {
  return spread === undefined ? "" : `${time(spread[0])}–${time(spread[1])}`;
}

function peak(ours: number, peers: number | undefined): string {
  const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`;
  return peers === undefined ? gigabytes(ours) : `${gigabytes(ours)} (peer ${gigabytes(peers)})`;
}

function rate(ours: number, peers: number | undefined): string {
  const scaled = (value: number) =>
    value >= 1e9 ? `${(value / 1e9).toFixed(1)} G/s` : `${value.toFixed(1)} /s`;
  return peers === undefined ? scaled(ours) : `${scaled(ours)} (peer ${scaled(peers)})`;
}
