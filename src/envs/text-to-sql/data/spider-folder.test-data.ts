/** Where tests find Spider: beside the checkout, or under `HONE_DATA`. It is never part of the package's data. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";

const data = process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../../../shared/data");
const folder = resolve(data, "spider");

/** Spider's folder, or undefined where it is absent. */
export const SPIDER_FOLDER: string | undefined = existsSync(folder) ? folder : undefined;
/** For titles of tests that need it. */
export const NO_SPIDER = SPIDER_FOLDER === undefined ? ` (skipped: ${folder} is absent)` : "";
