/** Clipping by global norm, as a factor. A pure formula. */

/**
 * What every gradient is multiplied by so that their joint L2 norm does not pass `maxNorm`.
 *
 *     c = min(1, maxNorm / (‖g‖ + 10⁻⁶))
 *
 * Exactly torch.nn.utils.clip_grad_norm_. `maxNorm` 0 means no clipping (Tinker's convention).
 * @throws RangeError when the norm is not finite: no factor makes such gradients usable.
 */
export function clipCoefficient(gradientNorm: number, maxNorm: number): number {
  if (!Number.isFinite(gradientNorm)) {
    throw new RangeError(`Cannot clip gradients: their norm is ${gradientNorm}, expected a finite number`);
  }
  return maxNorm === 0 ? 1 : Math.min(1, maxNorm / (gradientNorm + 1e-6));
}
