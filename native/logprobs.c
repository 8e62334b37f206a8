/*
 * Log-probabilities of given tokens under a linear head, and their gradient, without ever holding all logits.
 *
 * The vocabulary is walked in blocks whose logits fit TILE_NUMBERS; every block is one matrix product, a pass over its rows
 * and, for the gradient, one or two products more. So the head's weights are read once, and dw is complete block by block.
 * The gradient in one pass keeps a running maximum: with frozen weights, dhidden = d (w[target] - softmax . w) is an
 * attention over the vocabulary and is accumulated like one. With dw, whole rows of logits are kept for some rows at a time
 * when that is cheap, else the logits are made twice.
 */
#include <math.h>

#include "hone.h"

typedef struct {
  int64_t rows, width, vocab;
  const float *hidden, *w, *d_logprobs;
  const float *known_entropy, *d_entropy; /* of the gradient; NULL where the entropy has none */
  const uint16_t *w_bf16; /* instead of w */
  const int64_t *targets;
  float *logprobs, *lse, *d_hidden, *dw;
  float *entropy; /* NULL where nobody wants it */
} logprobs_call;

#define HONE_KERNELS "logprobs.kernels.h"
#include "each_isa.h"

#define TILE_NUMBERS ((int64_t)4 << 20)
#define WHOLE_ROWS_NUMBERS ((int64_t)8 << 20)
#define MOST_ROWS 4096
#define FEWEST_WHOLE_ROWS 256
#define NUMBERS_PER_UNIT 32768

typedef struct {
  logprobs_call call;
  int64_t first_row, rows; /* the rows that the tile holds */
  int64_t first_token, tokens; /* and the columns */
  int64_t rows_per_unit;
  float *tile, *most, *picked;
  double *total, *moment; /* sums of exp(logit - most), and of that times (logit - most) */
  void (*body)(void *, int64_t row);
  float (*largest)(const float *, int64_t);
  double (*exp_sum)(float *, int64_t, float, int);
  double (*exp_moment)(const float *, int64_t, float, double *);
  void (*softmax)(float *, int64_t, float, float);
  void (*softmax_moment)(float *, int64_t, float, float, float);
  void (*combine)(float *, int64_t, float, const float *, float);
  void (*combine_bf16)(float *, int64_t, float, const uint16_t *, float);
} logprobs_run;

static void rows_unit(void *arg, int64_t unit) {
  logprobs_run *run = arg;
  const int64_t from = unit * run->rows_per_unit, to = from + run->rows_per_unit;
  for (int64_t row = from; row < to && row < run->rows; row++) run->body(run, row);
}

static void each_row(hone_pool *pool, logprobs_run *run, void (*body)(void *, int64_t)) {
  run->body = body;
  run->rows_per_unit = NUMBERS_PER_UNIT / (run->tokens + 1) > 1 ? NUMBERS_PER_UNIT / (run->tokens + 1) : 1;
  pool->run(pool, (run->rows + run->rows_per_unit - 1) / run->rows_per_unit, rows_unit, run);
}

/* Where the row's target lies in the tile; NULL when it is in another block. */
static float *target_in_tile(const logprobs_run *run, int64_t row) {
  const int64_t column = run->call.targets[run->first_row + row] - run->first_token;
  return column < 0 || column >= run->tokens ? NULL : run->tile + row * run->tokens + column;
}

/* Adds the block to the row's running maximum and sum; keep: leave exp(logit - maximum) in the tile. */
static void add_block(logprobs_run *run, int64_t row, int keep) {
  float *x = run->tile + row * run->tokens;
  const float *target = target_in_tile(run, row);
  if (target != NULL) run->picked[row] = *target;
  const float before = run->most[row];
  float now = run->largest(x, run->tokens);
  if (!(now > before)) now = before;
  run->most[row] = now;
  const double shrink = before == now ? 1 : exp((double)before - now);
  if (keep && run->first_token > 0 && shrink != 1)
    run->combine(run->call.d_hidden + (run->first_row + row) * run->call.width, run->call.width, (float)shrink, NULL, 0);
  if (run->call.entropy == NULL) {
    run->total[row] = run->total[row] * shrink + run->exp_sum(x, run->tokens, now, keep);
    return;
  }
  if (run->first_token > 0) run->moment[row] = (run->moment[row] + ((double)before - now) * run->total[row]) * shrink;
  double moment;
  run->total[row] = run->total[row] * shrink + run->exp_moment(x, run->tokens, now, &moment);
  run->moment[row] += moment;
}

static void sum_row(void *arg, int64_t row) { add_block(arg, row, 0); }
static void sum_and_keep_row(void *arg, int64_t row) { add_block(arg, row, 1); }

static void finish_row(void *arg, int64_t row) {
  logprobs_run *run = arg;
  const int64_t at = run->first_row + row;
  run->call.lse[at] = (float)(run->most[row] + log(run->total[row]));
  run->call.logprobs[at] = (float)((double)run->picked[row] - run->most[row] - log(run->total[row]));
  if (run->call.entropy != NULL)
    run->call.entropy[at] = (float)(log(run->total[row]) - run->moment[row] / run->total[row]);
}

/* d_hidden holds the sum of exp(logit - maximum) w. */
static void finish_frozen_row(void *arg, int64_t row) {
  logprobs_run *run = arg;
  finish_row(arg, row);
  const int64_t at = run->first_row + row, width = run->call.width;
  const float d = run->call.d_logprobs[at];
  float *const d_hidden = run->call.d_hidden + at * width;
  const float factor = (float)(-d / run->total[row]);
  const int64_t target = run->call.targets[at] * width;
  if (run->call.w_bf16 != NULL) run->combine_bf16(d_hidden, width, factor, run->call.w_bf16 + target, d);
  else run->combine(d_hidden, width, factor, run->call.w + target, d);
}

static void gradient_row(void *arg, int64_t row) {
  logprobs_run *run = arg;
  const int64_t at = run->first_row + row;
  const float d = run->call.d_logprobs[at];
  float *const x = run->tile + row * run->tokens;
  if (run->call.d_entropy == NULL) {
    run->softmax(x, run->tokens, run->call.lse[at], -d);
  } else {
    const float d_entropy = run->call.d_entropy[at];
    run->softmax_moment(x, run->tokens, run->call.lse[at], -d - d_entropy * run->call.known_entropy[at], -d_entropy);
  }
  float *target = target_in_tile(run, row);
  if (target != NULL) *target += d;
}

/* The tile holds whole rows of logits: the exponentials of the sum are those of the gradient. */
static void whole_row(void *arg, int64_t row) {
  logprobs_run *run = arg;
  sum_and_keep_row(run, row);
  finish_row(run, row);
  const float d = run->call.d_logprobs[run->first_row + row];
  run->combine(run->tile + row * run->tokens, run->tokens, (float)(-d / run->total[row]), NULL, 0);
  *target_in_tile(run, row) += d;
}

static void logits_of_block(hone_pool *pool, const logprobs_run *run) {
  const logprobs_call *call = &run->call;
  const float *hidden = call->hidden + run->first_row * call->width;
  const int64_t token = run->first_token * call->width;
  if (call->w_bf16 != NULL)
    hone_gemm_bf16(pool, run->rows, run->tokens, call->width, 1, hidden, call->width, 0, call->w_bf16 + token, call->width,
                   1, 0, NULL, run->tile, run->tokens);
  else
    hone_gemm(pool, run->rows, run->tokens, call->width, 1, hidden, call->width, 0, call->w + token, call->width, 1, 0,
              run->tile, run->tokens);
}

static void add_to_d_hidden(hone_pool *pool, const logprobs_run *run) {
  const logprobs_call *call = &run->call;
  float *const d_hidden = call->d_hidden + run->first_row * call->width;
  const int64_t token = run->first_token * call->width;
  const float beta = run->first_token > 0 ? 1 : 0;
  if (call->w_bf16 != NULL)
    hone_gemm_bf16(pool, run->rows, call->width, run->tokens, 1, run->tile, run->tokens, 0, call->w_bf16 + token,
                   call->width, 0, beta, NULL, d_hidden, call->width);
  else
    hone_gemm(pool, run->rows, call->width, run->tokens, 1, run->tile, run->tokens, 0, call->w + token, call->width, 0,
              beta, d_hidden, call->width);
}

static void add_to_dw(hone_pool *pool, const logprobs_run *run) {
  const logprobs_call *call = &run->call;
  hone_gemm(pool, run->tokens, call->width, run->rows, 1, run->tile, run->tokens, 1,
            call->hidden + run->first_row * call->width, call->width, 0, run->first_row > 0 ? 1 : 0,
            call->dw + run->first_token * call->width, call->width);
}

typedef enum { VALUES, GRADIENT, BOTH_FROZEN, BOTH_WHOLE } logprobs_pass;

static void walk(hone_pool *pool, logprobs_run *run, logprobs_pass pass, int64_t block) {
  for (int64_t row = 0; row < run->rows; row++) {
    run->most[row] = -INFINITY;
    run->total[row] = 0;
    run->moment[row] = 0;
  }
  for (int64_t token = 0; token < run->call.vocab; token += block) {
    run->first_token = token;
    run->tokens = run->call.vocab - token < block ? run->call.vocab - token : block;
    logits_of_block(pool, run);
    if (pass == VALUES) each_row(pool, run, sum_row);
    if (pass == GRADIENT) each_row(pool, run, gradient_row);
    if (pass == BOTH_FROZEN) each_row(pool, run, sum_and_keep_row);
    if (pass == BOTH_WHOLE) each_row(pool, run, whole_row);
    if (pass != VALUES) add_to_d_hidden(pool, run);
    if (pass != VALUES && run->call.dw != NULL) add_to_dw(pool, run);
  }
  if (pass == VALUES) each_row(pool, run, finish_row);
  if (pass == BOTH_FROZEN) each_row(pool, run, finish_frozen_row);
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* How many pieces of at most `most` there must be, as even as can be, in whole multiples of `step`. */
static int64_t even_piece(int64_t whole, int64_t most, int64_t step) {
  if (whole <= most) return whole;
  const int64_t pieces = (whole + most - 1) / most;
  return ((whole + pieces - 1) / pieces + step - 1) / step * step;
}

static hone_status run_pass(hone_pool *pool, const logprobs_call *call, logprobs_pass pass) {
  if (call->rows < 0 || call->width <= 0 || call->vocab <= 0) return HONE_BAD_SHAPE;
  for (int64_t row = 0; row < call->rows; row++)
    if (call->targets[row] < 0 || call->targets[row] >= call->vocab) return HONE_BAD_INDEX;
  const int64_t most_rows = pass == BOTH_WHOLE ? WHOLE_ROWS_NUMBERS / call->vocab : MOST_ROWS;
  const int64_t rows = even_piece(call->rows, most_rows, 16);
  const int64_t block = pass == BOTH_WHOLE ? call->vocab : even_piece(call->vocab, TILE_NUMBERS / (rows + 1), 64);
  logprobs_run run = {
      .call = *call,
      .largest = HONE_BEST(row_largest),
      .exp_sum = HONE_BEST(row_exp),
      .exp_moment = HONE_BEST(row_exp_moment),
      .softmax = HONE_BEST(row_softmax),
      .softmax_moment = HONE_BEST(row_softmax_moment),
      .combine = HONE_BEST(row_combine),
      .combine_bf16 = HONE_BEST(row_combine_bf16),
  };
  run.tile = hone_take((size_t)(rows * smaller(block, call->vocab)) * sizeof(float));
  run.total = hone_take((size_t)(rows + 1) * 3 * sizeof(double));
  if (run.tile == NULL || run.total == NULL) {
    hone_give(run.tile);
    hone_give(run.total);
    return HONE_NO_MEMORY;
  }
  run.moment = run.total + rows;
  run.most = (float *)(run.moment + rows);
  run.picked = run.most + rows;
  for (int64_t row = 0; row < call->rows; row += rows) {
    run.first_row = row;
    run.rows = smaller(rows, call->rows - row);
    walk(pool, &run, pass, block);
  }
  hone_give(run.tile);
  hone_give(run.total);
  return HONE_OK;
}

hone_status hone_logprobs(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden, const float *w,
                          const int64_t *targets, float *logprobs, float *lse, float *entropy) {
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w = w, .targets = targets,
                              .logprobs = logprobs, .lse = lse, .entropy = entropy};
  return run_pass(pool, &call, VALUES);
}

static void clear(float *x, int64_t count) {
  for (int64_t i = 0; x != NULL && i < count; i++) x[i] = 0.0f;
}

hone_status hone_logprobs_grad(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                               const float *w, const int64_t *targets, const float *lse, const float *d_logprobs,
                               const float *entropy, const float *d_entropy, float *d_hidden, float *dw) {
  /* lse is only read in this pass; the field is written in the others. */
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w = w, .targets = targets,
                              .lse = (float *)(uintptr_t)lse, .d_logprobs = d_logprobs, .known_entropy = entropy,
                              .d_entropy = d_entropy, .d_hidden = d_hidden, .dw = dw};
  if (rows == 0) clear(dw, vocab * width);
  return run_pass(pool, &call, GRADIENT);
}

hone_status hone_logprobs_with_grad(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                    const float *w, const int64_t *targets, const float *d_logprobs, float *logprobs,
                                    float *lse, float *d_hidden, float *dw) {
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w = w, .targets = targets,
                              .logprobs = logprobs, .lse = lse, .d_logprobs = d_logprobs, .d_hidden = d_hidden, .dw = dw};
  if (rows == 0) clear(dw, vocab * width);
  if (dw == NULL) return run_pass(pool, &call, BOTH_FROZEN);
  if (WHOLE_ROWS_NUMBERS / vocab >= smaller(rows, FEWEST_WHOLE_ROWS)) return run_pass(pool, &call, BOTH_WHOLE);
  const hone_status status = run_pass(pool, &call, VALUES);
  return status == HONE_OK ? run_pass(pool, &call, GRADIENT) : status;
}

/* ---- a frozen head in bf16 ------------------------------------------------------------------------------ */

hone_status hone_logprobs_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                               const uint16_t *w, const int64_t *targets, float *logprobs, float *lse, float *entropy) {
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w_bf16 = w,
                              .targets = targets, .logprobs = logprobs, .lse = lse, .entropy = entropy};
  return run_pass(pool, &call, VALUES);
}

hone_status hone_logprobs_grad_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                    const uint16_t *w, const int64_t *targets, const float *lse, const float *d_logprobs,
                                    const float *entropy, const float *d_entropy, float *d_hidden) {
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w_bf16 = w,
                              .targets = targets, .lse = (float *)(uintptr_t)lse, .d_logprobs = d_logprobs,
                              .known_entropy = entropy, .d_entropy = d_entropy, .d_hidden = d_hidden};
  return run_pass(pool, &call, GRADIENT);
}

hone_status hone_logprobs_with_grad_bf16(hone_pool *pool, int64_t rows, int64_t width, int64_t vocab, const float *hidden,
                                         const uint16_t *w, const int64_t *targets, const float *d_logprobs,
                                         float *logprobs, float *lse, float *d_hidden) {
  const logprobs_call call = {.rows = rows, .width = width, .vocab = vocab, .hidden = hidden, .w_bf16 = w,
                              .targets = targets, .logprobs = logprobs, .lse = lse, .d_logprobs = d_logprobs,
                              .d_hidden = d_hidden};
  return run_pass(pool, &call, BOTH_FROZEN);
}
