/** `--set key=value`: changes to a configuration file that keep its checks, its comments and its line numbers' text. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse, parseDocument } from "yaml";
import type { z } from "zod";
import { messageOf, UserError } from "../base/index.js";
import { loadConfig, parseConfig } from "../training/index.js";

/** A kind of configuration: its schema, and how its paths become absolute. */
export interface ConfigKind<S extends z.ZodType> {
  readonly schema: S;
  withAbsolutePaths(config: z.output<S>, directory: string): z.output<S>;
}

/**
 * The configuration of `path` with `overrides` (`lora.rank=8`) applied; values are YAML.
 *
 * @throws UserError for an override that is no assignment, or that the schema refuses.
 */
export function loadOverriddenConfig<S extends z.ZodType>(
  path: string,
  overrides: readonly string[],
  { schema, withAbsolutePaths }: ConfigKind<S>,
): z.output<S> {
  const directory = dirname(resolve(path));
  if (overrides.length === 0) return withAbsolutePaths(loadConfig(path, schema), directory);
  const document = parseDocument(readText(path));
  // A file that is not YAML is reported as it stands, without the overrides.
  if (document.errors.length > 0) return loadConfig(path, schema);
  for (const override of overrides) {
    const { keys, value } = parseOverride(override);
    try {
      document.setIn(keys, value);
    } catch (error) {
      throw new UserError(
        `Cannot set ${override}: ${messageOf(error)}, expected a key of a section. Look at ${path}`,
        { cause: error },
      );
    }
  }
  const where = `${path} with ${overrides.map((override) => `--set ${override}`).join(" ")}`;
  return withAbsolutePaths(parseConfig(String(document), where, schema), directory);
}

/** `lora.rank=8` → its keys and its value, read as YAML. @throws UserError when it is no assignment */
export function parseOverride(override: string): {
  readonly keys: readonly string[];
  readonly value: unknown;
} {
  const [, name, text] = /^\s*([\w.-]+)\s*=(.*)$/s.exec(override) ?? [];
  if (name === undefined || text === undefined) {
    throw new UserError(
      `Cannot set "${override}": it is no assignment, expected key=value such as lora.rank=8`,
    );
  }
  try {
    return { keys: name.split("."), value: parse(text) };
  } catch (error) {
    throw new UserError(`Cannot set "${override}": ${messageOf(error)}, expected a YAML value after "="`, {
      cause: error,
    });
  }
}

/** A file that cannot be read gives "" here, so that the loader of whole files says what is wrong. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
