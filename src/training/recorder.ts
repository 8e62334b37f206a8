/** What a training loop asks of whoever keeps its records; `runs`' `Run` is one. Knows no disk and no database. */

export interface RunRecorder {
  /** Names the run, for telling how to resume it. */
  readonly id: string;
  /** Metrics of `step`; `machine` holds rates and durations, which no repetition reproduces. */
  logMetrics(
    step: number,
    metrics: Readonly<Record<string, number>>,
    machine?: Readonly<Record<string, number>>,
  ): void;
  /** `write` fills an empty directory; the checkpoint exists whole or not at all. */
  saveCheckpoint(
    step: number,
    write: (directory: string) => Promise<void>,
    options?: { readonly score?: number | undefined; readonly keepBest?: number },
  ): Promise<{ readonly path: string }>;
  logEvent(kind: string, detail: unknown): void;
}
