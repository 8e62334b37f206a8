/** How a failure ends the process: what is printed, and with which code. */
import { CommanderError } from "commander";
import { CancelledError, messageOf, UserError } from "../base/index.js";

/** Exit codes of `hone`; docs/cli.md lists them. */
export const EXIT = { ok: 0, gateFailed: 1, userError: 2, bug: 3, interrupted: 130 } as const;

const ISSUES = "the project's issue tracker";

/** Prints what there is to say about `error` and answers the exit code. */
export function reportFailure(error: unknown, write: (text: string) => void): number {
  // Commander has printed its own message, or the help that was asked for.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.userError;
  if (error instanceof UserError) {
    write(`${error.message}\n`);
    return EXIT.userError;
  }
  if (error instanceof CancelledError) {
    write(`${error.message}\n`);
    return EXIT.interrupted;
  }
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : String(error);
  write(
    `Hone failed: ${messageOf(error)}\n\n${stack}\n\nThis is a bug in Hone. Please report the lines above to ${ISSUES}, with the command and the output of \`hone doctor\`\n`,
  );
  return EXIT.bug;
}
