/** What was measured of a data set, and how it was judged, as a report for people. */
import type { Agreement } from "../agreement/comparisons.js";
import type { DataCheck } from "../quality/check-records.js";
import { NO_CATEGORY } from "../quality/coverage.js";
import { DEGENERACIES, type Degeneracy } from "../quality/degenerate.js";
import { type Lengths, PARTS } from "../quality/lengths.js";
import type { DataMeasures } from "../quality/measure.js";
import type { BarChart, DataReport, Section } from "./document.js";

/** The sections that apply to the data; with `checks`, their verdicts come first. */
export function dataReport(measures: DataMeasures, checks?: readonly DataCheck[]): DataReport {
  return {
    title: `Data of ${measures.path}`,
    sections: [
      ...(checks === undefined ? [] : [checkSection(checks)]),
      contentSection(measures),
      lengthSection(measures.lengths),
      ...categorySection(measures),
      ...gapSection(measures),
      duplicateSection(measures),
      ...degenerateSection(measures),
      ...contaminationSection(measures),
      ...originSection(measures),
    ],
  };
}

/** Kappas as rows of a table: of every two annotators, then of all. */
export function agreementRows({ pairs, group }: Agreement): string[][] {
  return [
    ...pairs.map(({ annotators, observed, kappa }) => [
      annotators.join(" and "),
      "Cohen",
      percent(observed),
      kappa === undefined ? "undefined" : decimal(kappa),
    ]),
    [
      `all ${group.annotators}`,
      "Fleiss",
      percent(group.observed),
      group.kappa === undefined ? "undefined" : decimal(group.kappa),
    ],
  ];
}

function checkSection(checks: readonly DataCheck[]): Section {
  const failed = checks.filter(({ passed }) => !passed).length;
  return {
    title:
      failed === 0 ? `All ${checks.length} checks passed` : `${failed} of ${checks.length} checks failed`,
    table: {
      header: ["check", "", "measured", "limit", "why", "lines"],
      rows: checks.map(({ name, passed, measured, limit, reason, lines }) => [
        name,
        passed ? "passed" : "failed",
        decimal(measured),
        decimal(limit),
        reason,
        lines.join(", "),
      ]),
    },
  };
}

function contentSection(measures: DataMeasures): Section {
  const { kind, rows, prompts, fileHash, contentHash, consistency } = measures;
  const { labels, scoreGroups, contradictions } = consistency;
  return {
    title: "Content",
    table: {
      header: ["", ""],
      rows: [
        ["kind", kind],
        ["rows", `${rows}`],
        ["different prompts", `${prompts}`],
        ["SHA-256 of the file", fileHash],
        ["SHA-256 of the content", contentHash],
        ...(labels === undefined
          ? []
          : [["labels", `${labels.desirable} true, ${labels.undesirable} false`]]),
        ...(scoreGroups === undefined
          ? []
          : [["prompts with several scores", `${scoreGroups.prompts}, all equal in ${scoreGroups.tied}`]]),
        ["rows that contradict another", `${contradictions.length}`],
      ],
    },
  };
}

function lengthSection({ unit, parts, values }: Lengths): Section {
  const shown = PARTS.filter((part) => parts[part] !== undefined);
  const all = shown.flatMap((part) => (values[part] ?? []).map(({ length }) => length));
  const edges = binEdges(all);
  const chart: BarChart = {
    labels: edges.slice(0, -1).map((low, i) => `${low}–${edges[i + 1]! - 1}`),
    series: shown.map((name) => ({
      name,
      values: histogram(
        (values[name] ?? []).map(({ length }) => length),
        edges,
      ),
    })),
    caption: `Texts by their length in ${unit}.`,
  };
  return {
    title: `Lengths in ${unit}`,
    chart,
    table: {
      header: ["part", "texts", "min", "mean", "median", "95 %", "max", "line of the longest"],
      rows: shown.map((part) => {
        const { count, min, mean, median, p95, max, longest } = parts[part]!;
        return [
          part,
          ...[count, min, mean, median, p95, max].map((value) => `${Number(value.toFixed(1))}`),
          `${longest}`,
        ];
      }),
    },
  };
}

function categorySection({ categories }: DataMeasures): Section[] {
  if (categories.length === 1 && categories[0]!.category === NO_CATEGORY) return [];
  const hasTargets = categories.some(({ target }) => target !== undefined);
  return [
    {
      title: "Categories",
      chart: {
        labels: categories.map(({ category }) => category),
        series: [
          { name: "share", values: categories.map(({ share }) => rounded(share)) },
          ...(hasTargets
            ? [{ name: "target", values: categories.map(({ target = 0 }) => rounded(target)) }]
            : []),
        ],
        caption: "Share of the rows.",
      },
      table: {
        header: ["category", "rows", "share", ...(hasTargets ? ["target"] : [])],
        rows: categories.map(({ category, rows, share, target = 0 }) => [
          category,
          `${rows}`,
          percent(share),
          ...(hasTargets ? [percent(target)] : []),
        ]),
      },
    },
  ];
}

function gapSection({ gap }: DataMeasures): Section[] {
  if (gap === undefined) return [];
  const { score, length } = gap;
  return [
    {
      title: "Preference gap",
      table: {
        header: ["", ""],
        rows: [
          ...(score === undefined
            ? [["score", "not measured: no pair has scores or a margin"]]
            : [
                ["mean of score(chosen) − score(rejected)", decimal(score.mean)],
                ["median", decimal(score.median)],
                ["mean, as a share of the scale", decimal(score.normalised)],
                ["pairs with scores", `${score.pairs}, ${score.inverted} inverted, ${score.tied} tied`],
              ]),
          ["chosen is the longer one", `${percent(length.chosenLonger)} of pairs of unequal length`],
          ["mean difference of length, relative", decimal(length.relative)],
        ],
      },
    },
  ];
}

const SHOWN_GROUPS = 10;

function duplicateSection({ duplicates }: DataMeasures): Section {
  const { exact, exactRows, near, nearRows } = duplicates;
  const rows = (kind: string, groups: readonly (readonly number[])[]): string[][] =>
    groups.slice(0, SHOWN_GROUPS).map((lines) => [kind, shownLines(lines)]);
  return {
    title: "Duplicates",
    paragraphs: [
      `${exactRows} rows repeat another exactly, ${nearRows} nearly (five-word shingles, prompts and answers both at or above the threshold).`,
    ],
    table: { header: ["kind", "lines"], rows: [...rows("exact", exact), ...rows("near", near)] },
  };
}

function degenerateSection({ degenerate, kind }: DataMeasures): Section[] {
  if (kind === "prompt") return [];
  // Object.keys() forgets the keys' type.
  const faults = Object.keys(DEGENERACIES) as Degeneracy[];
  return [
    {
      title: "Degenerate answers",
      table: {
        header: ["fault", "meaning", "answers", "of these rejected", "lines"],
        rows: faults.map((fault) => {
          const found = degenerate.filter((one) => one.fault === fault);
          const rejected = found.filter(({ role }) => role === "rejected").length;
          const lines = shownLines([...new Set(found.map(({ line }) => line))]);
          return [fault, DEGENERACIES[fault], `${found.length}`, `${rejected}`, lines];
        }),
      },
    },
  ];
}

function contaminationSection({ decontamination }: DataMeasures): Section[] {
  if (decontamination === undefined) return [];
  const { score, overlaps, evaluationTexts, uncheckedTexts } = decontamination;
  return [
    {
      title: "Decontamination",
      paragraphs: [
        `${decimal(score)} of the rows share no 13 words with ${evaluationTexts} evaluation texts (${uncheckedTexts} of them too short to check).`,
      ],
      table: {
        header: ["line", "evaluation", "words"],
        rows: overlaps
          .slice(0, SHOWN_GROUPS)
          .map(({ line, evaluation, words }) => [`${line}`, `${evaluation.path}:${evaluation.line}`, words]),
      },
    },
  ];
}

function originSection({ origins }: DataMeasures): Section[] {
  if (origins.length === 0) return [];
  return [
    {
      title: "Where the rows come from",
      table: {
        header: ["column", "values, with their rows"],
        rows: origins.map(({ column, values }) => [
          column,
          values.map(({ value, rows }) => `${value} (${rows})`).join(", "),
        ]),
      },
    },
  ];
}

/** At most twelve bins of whole width from 0 to beyond the longest. */
export function binEdges(lengths: readonly number[]): number[] {
  const max = lengths.reduce((a, b) => Math.max(a, b), 0);
  const width = Math.max(1, Math.ceil((max + 1) / 12));
  const bins = Math.ceil((max + 1) / width);
  return Array.from({ length: bins + 1 }, (_, i) => i * width);
}

/** How many values lie in each bin [edge, next edge). */
export function histogram(values: readonly number[], edges: readonly number[]): number[] {
  const counts = Array.from({ length: edges.length - 1 }, () => 0);
  const width = edges[1]! - edges[0]!;
  for (const value of values) counts[Math.floor((value - edges[0]!) / width)]!++;
  return counts;
}

const shownLines = (lines: readonly number[]): string =>
  lines.length <= SHOWN_GROUPS
    ? lines.join(", ")
    : `${lines.slice(0, SHOWN_GROUPS).join(", ")}, … (${lines.length})`;
const rounded = (value: number): number => Number(value.toFixed(4));
const decimal = (value: number): string => `${rounded(value)}`;
const percent = (share: number): string => `${Number((100 * share).toFixed(1))} %`;
