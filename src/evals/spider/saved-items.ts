/** Items of an evaluation as they were saved, for a comparison made later. */
import { z } from "zod";
import { UserError } from "../../base/index.js";
import { COMPONENTS } from "../metrics/spider-exact-match.js";
import { ERROR_CLASSES } from "./error-analysis.js";
import { LEVELS, type SpiderItem } from "./report.js";

const ComponentScore = z.object({
  score: z.literal([0, 1]),
  predicted: z.int().nonnegative(),
  gold: z.int().nonnegative(),
});

const Item = z.object({
  id: z.string(),
  database: z.string(),
  hardness: z.enum(LEVELS).exclude(["all"]),
  question: z.string(),
  gold: z.string(),
  predicted: z.string(),
  isExecutionMatch: z.boolean().nullable(),
  isExactMatch: z.boolean().nullable(),
  components: z.record(z.enum(COMPONENTS), ComponentScore).nullable(),
  error: z.object({ class: z.enum([...ERROR_CLASSES, "invalid"]), evidence: z.string() }).exactOptional(),
});

/** `items` as parsed from JSON of the file `path`. @throws UserError when they are no items of an evaluation */
export function parseSpiderItems(items: unknown, path: string): SpiderItem[] {
  const parsed = z.array(Item).safeParse(items);
  if (parsed.success) return parsed.data;
  const { path: where, message } = parsed.error.issues[0]!;
  throw new UserError(
    `Cannot read the evaluation ${path}: items.${where.join(".")}: ${message}, expected what an evaluation of this version wrote. Evaluate again`,
  );
}
