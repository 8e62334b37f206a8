/** What a check before the first step answers: passed or not, with both numbers and a sentence. Pure. */

export interface CheckResult {
  readonly name: string;
  readonly passed: boolean;
  readonly measured: number;
  readonly limit: number;
  /** One sentence with both numbers. */
  readonly reason: string;
}
