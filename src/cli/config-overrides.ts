/** `--set key=value`: changes to a configuration file that keep its checks, its comments and its line numbers' text. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parse, parseDocument } from "yaml";
import { messageOf, UserError } from "../base/index.js";
import { loadSftConfig, parseConfig, SftConfig, withAbsolutePaths } from "../training/index.js";

/**
 * The SFT configuration of `path` with `overrides` (`lora.rank=8`) applied; values are YAML.
 *
 * @throws UserError for an override that is no assignment, or that the schema refuses.
 */
export function loadOverriddenConfig(path: string, overrides: readonly string[]): SftConfig {
  if (overrides.length === 0) return loadSftConfig(path);
  const document = parseDocument(readText(path));
  // A file that is not YAML is reported as it stands, without the overrides.
  if (document.errors.length > 0) return loadSftConfig(path);
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
  return withAbsolutePaths(parseConfig(String(document), where, SftConfig), dirname(resolve(path)));
}

function parseOverride(override: string): { readonly keys: readonly string[]; readonly value: unknown } {
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
