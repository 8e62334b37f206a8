/** What a step can do. Actions are handed in by whoever joins the rooms; the pipeline knows only this form. */
import type { Arguments } from "./recipe.js";

/** What a step made: paths (inside its directory, absolute) and numbers that later steps and people read. */
export type Outputs = Readonly<Record<string, string | number | boolean | null>>;

export interface StepContext {
  /** The step's own directory. Of an action that resumes it holds what an interrupted attempt left. */
  readonly directory: string;
  readonly arguments: Arguments;
  /** Aborted by Ctrl-C: the action then throws `CancelledError`. */
  readonly signal: AbortSignal;
  /** A line for people. */
  say(line: string): void;
}

export interface Action {
  /** Raised when the code gives another result for the same arguments. */
  readonly version: number;
  /** Goes on from what an interrupted attempt left in the directory; else the directory is emptied first. */
  readonly resumes?: boolean;
  /** Files from outside that the result depends on: their contents become part of the step's key. */
  files?(given: Arguments): readonly string[];
  /** @throws UserError for what the user can mend, CancelledError when stopped */
  run(context: StepContext): Promise<Outputs>;
}
