/** Ctrl-C: once asks the work to stop after the step in flight, twice ends the process at once. */
import { EXIT } from "./exit.js";

export interface Interrupt {
  /** Aborted by the first Ctrl-C (or SIGTERM). */
  readonly signal: AbortSignal;
  /** Leaves Ctrl-C to Node again. */
  release(): void;
}

/** `say` tells the user that the stop is under way. */
export function watchInterrupt(say: (line: string) => void): Interrupt {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    controller.abort();
    say("Stopping after this step. Press Ctrl-C again to end at once, going back to the last checkpoint");
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return {
    signal: controller.signal,
    release() {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
    },
  };
}
