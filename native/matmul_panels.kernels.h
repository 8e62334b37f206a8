/* Rows times a packed panel, for one instruction set; matmul_panels.c says what they are for. */

/* As many rows and vectors as keep their sums in registers. */
#define PANEL_ROWS (LANES == 16 ? 8 : 4)
#define PANEL_VECTORS 2

/* sums[r][column ..] += x[r] panel over `length` of k, in order. */
HONE_INLINE void HONE_NAME(panel_rows)(const float *x, int64_t ldx, int64_t length, const float *panel, float *sums,
                                       int64_t column, const int rows) {
  vf s[8][PANEL_VECTORS];
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int v = 0; v < PANEL_VECTORS; v++) s[r][v] = vf_load(sums + r * COLUMNS + column + v * LANES);
  for (int64_t l = 0; l < length; l++) {
    const float *at = panel + l * COLUMNS + column;
    vf y[PANEL_VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < PANEL_VECTORS; v++) {
      y[v] = vf_load(at + v * LANES);
      __builtin_prefetch(at + AHEAD * COLUMNS + v * LANES);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
      const vf a = vf_set(x[r * ldx + l]);
#pragma GCC unroll 2
      for (int v = 0; v < PANEL_VECTORS; v++) s[r][v] = vf_fma(a, y[v], s[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
    for (int v = 0; v < PANEL_VECTORS; v++) vf_store(sums + r * COLUMNS + column + v * LANES, s[r][v]);
}

static void HONE_NAME(panel)(const float *x, int64_t ldx, int64_t rows, int64_t length, const float *panel, float *sums) {
  for (int64_t column = 0; column < COLUMNS; column += PANEL_VECTORS * LANES) {
    int64_t r = 0;
    for (; r + PANEL_ROWS <= rows; r += PANEL_ROWS)
      HONE_NAME(panel_rows)(x + r * ldx, ldx, length, panel, sums + r * COLUMNS, column, PANEL_ROWS);
    for (; r + 4 <= rows; r += 4) HONE_NAME(panel_rows)(x + r * ldx, ldx, length, panel, sums + r * COLUMNS, column, 4);
    for (; r + 2 <= rows; r += 2) HONE_NAME(panel_rows)(x + r * ldx, ldx, length, panel, sums + r * COLUMNS, column, 2);
    if (r < rows) HONE_NAME(panel_rows)(x + r * ldx, ldx, length, panel, sums + r * COLUMNS, column, 1);
  }
}

#undef PANEL_ROWS
#undef PANEL_VECTORS
