/* The operators of the domain "hone": their shapes, and the kernel that each calls. See README.md for the table. */
#include "ops.h"

#include <string.h>

enum { FLOAT = 1, UINT8 = 2, UINT16 = 4, INT32 = 6, INT64 = 7 };

static const hone_dim UNKNOWN = {-1, NULL};

static int differ(hone_dim a, hone_dim b) { return a.size >= 0 && b.size >= 0 && a.size != b.size; }
static int64_t size_of(const hone_call *call, int input, int axis) { return call->in[input].dims[axis].size; }

static hone_dim times(hone_dim a, int64_t factor) { return a.size < 0 ? UNKNOWN : (hone_dim){a.size * factor, NULL}; }

static int same_matrix(const hone_shape *a, const hone_shape *b) {
  return a->rank == 2 && b->rank == 2 && !differ(a->dims[0], b->dims[0]) && !differ(a->dims[1], b->dims[1]);
}

static void row(hone_shape *out, hone_dim a) { *out = (hone_shape){1, {a}}; }
static void matrix(hone_shape *out, hone_dim a, hone_dim b) { *out = (hone_shape){2, {a, b}}; }

/* ---- MatMul: y = alpha op(a) op(b) + c ------------------------------------------------------------------ */

enum { TRANS_A, TRANS_B, ALPHA };

static const char *matmul_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int ta = attributes[TRANS_A] != 0, tb = attributes[TRANS_B] != 0;
  if (in[0].rank != 2 || in[1].rank != 2) return "a and b must be matrices";
  if (differ(in[0].dims[!ta], in[1].dims[tb])) return "the inner sizes of a and b differ";
  const hone_dim m = in[0].dims[ta], n = in[1].dims[!tb];
  matrix(&out[0], m, n);
  if (in[2].rank < 0) return NULL;
  if (in[2].rank == 1) return differ(in[2].dims[0], n) ? "the bias c is not as long as a row of the result" : NULL;
  if (in[2].rank != 2 || differ(in[2].dims[0], m) || differ(in[2].dims[1], n))
    return "c is neither of the result's shape nor a row of it";
  return NULL;
}

/* Output i as the product of inputs a and b, plus input c where it is there. */
static hone_product product_of(const hone_call *call, int i, int a, int b, int c, int ta, int tb, double alpha) {
  const int64_t m = call->out[i].dims[0].size, n = call->out[i].dims[1].size, k = size_of(call, a, !ta);
  const float *added = call->inputs[c];
  float *y = call->outputs[i];
  const float *bias = added != NULL && call->in[c].rank == 1 ? added : NULL;
  const int adds = added != NULL && bias == NULL;
  if (adds && added != y) memcpy(y, added, (size_t)(m * n) * sizeof(float));
  return (hone_product){.m = m,
                        .n = n,
                        .k = k,
                        .alpha = (float)alpha,
                        .a = call->inputs[a],
                        .lda = ta ? m : k,
                        .trans_a = ta,
                        .b = call->inputs[b],
                        .ldb = tb ? k : n,
                        .trans_b = tb,
                        .beta = adds ? 1.0f : 0.0f,
                        .bias = bias,
                        .c = y,
                        .ldc = n};
}

static hone_status matmul(hone_pool *pool, const hone_call *call) {
  const int ta = call->attributes[TRANS_A] != 0, tb = call->attributes[TRANS_B] != 0;
  const hone_product product = product_of(call, 0, 0, 1, 2, ta, tb, call->attributes[ALPHA]);
  hone_gemm_sharing(pool, 1, &product);
  return HONE_OK;
}

/* ---- MatMulSharing: y_i = alpha op(x) op(w_i) + c_i, or alpha op(w_i) op(x) + c_i ------------------------ */

/* Inputs: x, then a w for each product, then a c for each. The third product may be missing. */
enum { X, W, C = W + HONE_MOST_SHARING };
enum { X_IS_B = ALPHA + 1 };

static const char *sharing_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int x_is_b = attributes[X_IS_B] != 0;
  for (int i = 0; i < HONE_MOST_SHARING; i++) {
    row(&out[i], UNKNOWN);
    if (in[W + i].rank < 0) continue;
    const hone_shape operands[3] = {in[x_is_b ? W + i : X], in[x_is_b ? X : W + i], in[C + i]};
    const char *wrong = matmul_shape(operands, attributes, &out[i]);
    if (wrong != NULL) return wrong;
  }
  return NULL;
}

static hone_status matmul_sharing(hone_pool *pool, const hone_call *call) {
  const int ta = call->attributes[TRANS_A] != 0, tb = call->attributes[TRANS_B] != 0;
  const int x_is_b = call->attributes[X_IS_B] != 0;
  hone_product products[HONE_MOST_SHARING];
  int count = 0;
  for (; count < HONE_MOST_SHARING && call->inputs[W + count] != NULL; count++)
    products[count] = product_of(call, count, x_is_b ? W + count : X, x_is_b ? X : W + count, C + count, ta, tb,
                                 call->attributes[ALPHA]);
  hone_gemm_sharing(pool, count, products);
  return HONE_OK;
}

/* ---- RmsNorm, RmsNormGrad ------------------------------------------------------------------------------- */

static const char *norm_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (in[0].rank != 2 || in[1].rank != 1) return "x must be a matrix and w a row";
  if (differ(in[0].dims[1], in[1].dims[0])) return "w is not as long as a row of x";
  out[0] = in[0];
  row(&out[1], in[0].dims[0]);
  return NULL;
}

static hone_status norm(hone_pool *pool, const hone_call *call) {
  return hone_rms_norm(pool, size_of(call, 0, 0), size_of(call, 0, 1), (float)call->attributes[0], call->inputs[0],
                       call->inputs[1], call->outputs[0], call->outputs[1]);
}

static const char *norm_grad_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const char *wrong = norm_shape(in, attributes, out);
  if (wrong != NULL) return wrong;
  if (in[2].rank != 1 || differ(in[2].dims[0], in[0].dims[0])) return "invStd must have one number for each row of x";
  if (!same_matrix(&in[3], &in[0])) return "dy must have the shape of x";
  out[1] = in[1];
  return NULL;
}

static hone_status norm_grad(hone_pool *pool, const hone_call *call) {
  return hone_rms_norm_grad(pool, size_of(call, 0, 0), size_of(call, 0, 1), call->inputs[0], call->inputs[1],
                            call->inputs[2], call->inputs[3], call->outputs[0], call->outputs[1]);
}

/* ---- Swiglu, SwigluGrad --------------------------------------------------------------------------------- */

static const char *swiglu_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (!same_matrix(&in[0], &in[1])) return "gate and up must be matrices of one shape";
  out[0] = in[0];
  return NULL;
}

static hone_status swiglu(hone_pool *pool, const hone_call *call) {
  return hone_swiglu(pool, size_of(call, 0, 0) * size_of(call, 0, 1), call->inputs[0], call->inputs[1],
                     call->outputs[0]);
}

static const char *swiglu_grad_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (!same_matrix(&in[0], &in[1]) || !same_matrix(&in[0], &in[2]))
    return "gate, up and dy must be matrices of one shape";
  out[0] = out[1] = in[0];
  return NULL;
}

static hone_status swiglu_grad(hone_pool *pool, const hone_call *call) {
  return hone_swiglu_grad(pool, size_of(call, 0, 0) * size_of(call, 0, 1), call->inputs[0], call->inputs[1],
                          call->inputs[2], call->outputs[0], call->outputs[1]);
}

/* ---- Rotary --------------------------------------------------------------------------------------------- */

enum { ROTARY_HEADS, ROTARY_INVERSE };

static const char *rotary_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int64_t heads = (int64_t)attributes[ROTARY_HEADS];
  if (in[0].rank != 2 || in[1].rank != 1 || in[2].rank != 2 || in[3].rank != 2)
    return "x, cos and sin must be matrices and positions a row";
  if (heads < 1) return "heads must be given and be at least 1";
  if (differ(in[0].dims[0], in[1].dims[0])) return "positions must have one number for each row of x";
  if (differ(in[2].dims[0], in[3].dims[0]) || differ(in[2].dims[1], in[3].dims[1])) return "cos and sin differ in shape";
  if (differ(in[0].dims[1], times(in[2].dims[1], 2 * heads)))
    return "x must have heads times twice the columns of cos";
  out[0] = in[0];
  return NULL;
}

static hone_status rotary(hone_pool *pool, const hone_call *call) {
  const int64_t heads = (int64_t)call->attributes[ROTARY_HEADS];
  return hone_rotary(pool, size_of(call, 0, 0), heads, size_of(call, 0, 1) / heads,
                     (int)call->attributes[ROTARY_INVERSE], call->inputs[0], call->inputs[1], call->inputs[2],
                     call->inputs[3], size_of(call, 2, 0), call->outputs[0]);
}

/* ---- Attention, AttentionGrad --------------------------------------------------------------------------- */

enum { HEADS, KV_HEADS, SCALE, WINDOW };

static const char *attention_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int64_t heads = (int64_t)attributes[HEADS], kv_heads = (int64_t)attributes[KV_HEADS];
  if (in[0].rank != 2 || in[1].rank != 2 || in[2].rank != 2 || in[3].rank != 1)
    return "q, k and v must be matrices and ends a row";
  if (heads < 1 || kv_heads < 1 || heads % kv_heads != 0)
    return "heads and kvHeads must be given, and heads be a multiple of kvHeads";
  if (differ(in[0].dims[0], in[1].dims[0]) || differ(in[0].dims[0], in[2].dims[0]) ||
      differ(in[0].dims[0], in[3].dims[0]))
    return "q, k, v and ends must have as many rows";
  if (in[0].dims[1].size >= 0 && in[0].dims[1].size % heads != 0) return "q's columns must be a multiple of heads";
  if (differ(times(in[1].dims[1], heads / kv_heads), in[0].dims[1]) || differ(in[1].dims[1], in[2].dims[1]))
    return "k and v must have kvHeads columns for each heads of q";
  out[0] = in[0];
  matrix(&out[1], in[0].dims[0], (hone_dim){heads, NULL});
  return NULL;
}

static hone_attention attention_of(const hone_call *call) {
  const int64_t heads = (int64_t)call->attributes[HEADS];
  return (hone_attention){.tokens = size_of(call, 0, 0),
                          .heads = heads,
                          .kv_heads = (int64_t)call->attributes[KV_HEADS],
                          .width = size_of(call, 0, 1) / heads,
                          .window = (int64_t)call->attributes[WINDOW],
                          .scale = (float)call->attributes[SCALE]};
}

static hone_status attention(hone_pool *pool, const hone_call *call) {
  const hone_attention shape = attention_of(call);
  return hone_attention_forward(pool, &shape, call->inputs[0], call->inputs[1], call->inputs[2], call->inputs[3],
                                call->outputs[0], call->outputs[1]);
}

static const char *attention_grad_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const char *wrong = attention_shape(in, attributes, out);
  if (wrong != NULL) return wrong;
  for (int i = 4; i < 7; i++) {
    if (!same_matrix(&in[i], i == 5 ? &out[1] : &in[0]))
      return "o and do must have the shape of q, and lse one number for each row and head";
  }
  out[0] = in[0];
  out[1] = in[1];
  out[2] = in[2];
  return NULL;
}

static hone_status attention_grad(hone_pool *pool, const hone_call *call) {
  const hone_attention shape = attention_of(call);
  return hone_attention_backward(pool, &shape, call->inputs[0], call->inputs[1], call->inputs[2], call->inputs[3],
                                 call->inputs[4], call->inputs[5], call->inputs[6], call->outputs[0], call->outputs[1],
                                 call->outputs[2]);
}

/* ---- DecodeAttention: writes k and v into the cache's pages, which are inputs ----------------------------- */

static const char *decode_attention_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int64_t heads = (int64_t)attributes[HEADS], kv_heads = (int64_t)attributes[KV_HEADS];
  for (int i = 0; i < 6; i++)
    if (in[i].rank != 2) return "q, k, v, keys, values and tables must be matrices";
  if (in[6].rank != 1 || in[7].rank != 1) return "sequences and positions must be rows";
  if (heads < 1 || kv_heads < 1 || heads % kv_heads != 0)
    return "heads and kvHeads must be given, and heads be a multiple of kvHeads";
  for (int i = 1; i < 8; i++)
    if ((i < 3 || i > 5) && differ(in[0].dims[0], in[i].dims[0]))
      return "q, k, v, sequences and positions must have as many rows";
  if (in[0].dims[1].size >= 0 && in[0].dims[1].size % heads != 0) return "q's columns must be a multiple of heads";
  if (differ(times(in[1].dims[1], heads / kv_heads), in[0].dims[1]) || differ(in[1].dims[1], in[2].dims[1]))
    return "k and v must have kvHeads columns for each heads of q";
  if (!same_matrix(&in[3], &in[4]) || differ(times(in[1].dims[1], HONE_CACHE_PAGE), in[3].dims[1]))
    return "keys and values must have the columns of a page of k";
  out[0] = in[0];
  return NULL;
}

static hone_status decode_attention(hone_pool *pool, const hone_call *call) {
  const int64_t heads = (int64_t)call->attributes[HEADS];
  const hone_decode_attention shape = {.tokens = size_of(call, 0, 0),
                                       .heads = heads,
                                       .kv_heads = (int64_t)call->attributes[KV_HEADS],
                                       .width = size_of(call, 0, 1) / heads,
                                       .window = (int64_t)call->attributes[WINDOW],
                                       .pages = size_of(call, 3, 0),
                                       .sequences = size_of(call, 5, 0),
                                       .table_width = size_of(call, 5, 1),
                                       .scale = (float)call->attributes[SCALE]};
  /* The caller lends the cache to be written; onnxruntime knows inputs only as constant. */
  float *keys = (float *)(uintptr_t)call->inputs[3], *values = (float *)(uintptr_t)call->inputs[4];
  return hone_decode_attention_forward(pool, &shape, call->inputs[0], call->inputs[1], call->inputs[2], keys, values,
                                       call->inputs[5], call->inputs[6], call->inputs[7], call->outputs[0]);
}

/* ---- Logprobs and its gradients ------------------------------------------------------------------------- */

static const char *head_shape(const hone_shape *in) {
  if (in[0].rank != 2 || in[1].rank != 2 || in[2].rank != 1) return "hidden and w must be matrices and targets a row";
  if (differ(in[0].dims[1], in[1].dims[1])) return "hidden and w must have as many columns";
  if (differ(in[0].dims[0], in[2].dims[0])) return "targets must have one number for each row of hidden";
  return NULL;
}

static const char *logprobs_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  for (int i = 0; i < 3; i++) row(&out[i], in[0].dims[0]);
  return head_shape(in);
}

static hone_status logprobs(hone_pool *pool, const hone_call *call) {
  return hone_logprobs(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                       call->inputs[1], call->inputs[2], call->outputs[0], call->outputs[1], call->outputs[2]);
}

static const char *logprobs_grad_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if ((in[5].rank < 0) != (in[6].rank < 0)) return "entropy and dentropy must be given together";
  for (int i = 3; i < (in[5].rank < 0 ? 5 : 7); i++)
    if (in[i].rank != 1 || differ(in[i].dims[0], in[0].dims[0]))
      return "lse, dlogprobs, entropy and dentropy must have one number for each row of hidden";
  out[0] = in[0];
  out[1] = in[1];
  return head_shape(in);
}

static hone_status logprobs_grad(hone_pool *pool, const hone_call *call) {
  return hone_logprobs_grad(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                            call->inputs[1], call->inputs[2], call->inputs[3], call->inputs[4], call->inputs[5],
                            call->inputs[6], call->outputs[0], call->outputs[1]);
}

static const char *logprobs_with_grad_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  if (in[3].rank != 1 || differ(in[3].dims[0], in[0].dims[0]))
    return "dlogprobs must have one number for each row of hidden";
  const char *wrong = logprobs_shape(in, attributes, out);
  out[2] = in[0];
  out[3] = in[1];
  return wrong;
}

static hone_status logprobs_with_grad(hone_pool *pool, const hone_call *call) {
  return hone_logprobs_with_grad(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                                 call->inputs[1], call->inputs[2], call->inputs[3], call->outputs[0], call->outputs[1],
                                 call->outputs[2], call->outputs[3]);
}

/* ---- MatMulQ4 ------------------------------------------------------------------------------------------- */

enum { BLOCK, TRANS };

static const char *q4_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int64_t block = (int64_t)attributes[BLOCK];
  const int transposed = attributes[TRANS] != 0;
  if (in[0].rank != 2 || in[1].rank != 2 || in[2].rank != 2) return "x, packed and scales must be matrices";
  if (block < 1) return "block must be given and be at least 1";
  const hone_dim n_out = in[1].dims[0], k_in = times(in[1].dims[1], 2);
  if (differ(in[0].dims[1], transposed ? n_out : k_in)) return "x has not as many columns as the matrix needs";
  if (differ(in[2].dims[0], n_out) || differ(times(in[2].dims[1], block), k_in))
    return "scales must have one number for each row and block of packed";
  if (in[3].rank >= 0 && !same_matrix(&in[3], &in[2])) return "zeros must have the shape of scales";
  matrix(&out[0], in[0].dims[0], transposed ? k_in : n_out);
  return NULL;
}

static hone_status q4(hone_pool *pool, const hone_call *call) {
  return hone_matmul_q4(pool, size_of(call, 0, 0), size_of(call, 1, 0), 2 * size_of(call, 1, 1),
                        (int64_t)call->attributes[BLOCK], call->attributes[TRANS] != 0, call->inputs[0],
                        call->inputs[1], call->inputs[2], call->inputs[3], call->outputs[0]);
}

/* ---- PackPanels, MatMulPanels: y = x w^T + c ------------------------------------------------------------- */

enum { ROWS_OF_W };

static const char *pack_panels_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (in[0].rank != 2) return "w must be a matrix";
  const int64_t n = in[0].dims[0].size;
  const hone_dim panels = n < 0 ? UNKNOWN : (hone_dim){(n + HONE_PANEL_COLUMNS - 1) / HONE_PANEL_COLUMNS, NULL};
  matrix(&out[0], panels, times(in[0].dims[1], HONE_PANEL_COLUMNS));
  return NULL;
}

static hone_status pack_panels(hone_pool *pool, const hone_call *call) {
  return hone_pack_panels(pool, size_of(call, 0, 0), size_of(call, 0, 1), call->inputs[0], call->outputs[0]);
}

static const char *matmul_panels_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int64_t n = (int64_t)attributes[ROWS_OF_W];
  if (in[0].rank != 2 || in[1].rank != 2) return "x and panels must be matrices";
  if (n < 1) return "columns must be given and be at least 1";
  if (differ(times(in[0].dims[1], HONE_PANEL_COLUMNS), in[1].dims[1]) ||
      differ(in[1].dims[0], (hone_dim){(n + HONE_PANEL_COLUMNS - 1) / HONE_PANEL_COLUMNS, NULL}))
    return "panels are not those of a matrix with `columns` rows as long as those of x";
  matrix(&out[0], in[0].dims[0], (hone_dim){n, NULL});
  if (in[2].rank < 0) return NULL;
  if (in[2].rank == 1) return differ(in[2].dims[0], out[0].dims[1]) ? "the bias c is not as long as a row of the result" : NULL;
  return same_matrix(&in[2], &out[0]) ? NULL : "c is neither of the result's shape nor a row of it";
}

static hone_status matmul_panels(hone_pool *pool, const hone_call *call) {
  const int64_t n = (int64_t)call->attributes[ROWS_OF_W];
  return hone_matmul_panels(pool, size_of(call, 0, 0), n, size_of(call, 0, 1), call->inputs[0], call->inputs[1],
                            call->inputs[2], call->in[2].rank == 2 ? n : 0, call->outputs[0]);
}

/* ---- weights in bf16: MatMulBf16, the head, GatherRowsBf16 ---------------------------------------------- */

enum { W_TRANS };

static const char *matmul_bf16_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  const int trans = attributes[W_TRANS] != 0;
  if (in[0].rank != 2 || in[1].rank != 2) return "x and w must be matrices";
  if (differ(in[0].dims[1], in[1].dims[!trans])) return "x has not as many columns as w needs";
  const hone_dim m = in[0].dims[0], n = in[1].dims[trans];
  matrix(&out[0], m, n);
  if (in[2].rank < 0) return NULL;
  if (in[2].rank == 1) return differ(in[2].dims[0], n) ? "the bias c is not as long as a row of the result" : NULL;
  return same_matrix(&in[2], &out[0]) ? NULL : "c is neither of the result's shape nor a row of it";
}

static hone_status matmul_bf16(hone_pool *pool, const hone_call *call) {
  hone_product product = product_of(call, 0, 0, 1, 2, 0, call->attributes[W_TRANS] == 0, 1);
  product.b_is_bf16 = 1;
  hone_gemm_sharing(pool, 1, &product);
  return HONE_OK;
}

static const char *sharing_bf16_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  for (int i = 0; i < HONE_MOST_SHARING; i++) {
    row(&out[i], UNKNOWN);
    if (in[W + i].rank < 0) continue;
    const hone_shape operands[3] = {in[X], in[W + i], in[C + i]};
    const char *wrong = matmul_bf16_shape(operands, attributes, &out[i]);
    if (wrong != NULL) return wrong;
  }
  return NULL;
}

static hone_status matmul_sharing_bf16(hone_pool *pool, const hone_call *call) {
  hone_product products[HONE_MOST_SHARING];
  int count = 0;
  for (; count < HONE_MOST_SHARING && call->inputs[W + count] != NULL; count++) {
    products[count] = product_of(call, count, X, W + count, C + count, 0, call->attributes[W_TRANS] == 0, 1);
    products[count].b_is_bf16 = 1;
  }
  hone_gemm_sharing(pool, count, products);
  return HONE_OK;
}

static hone_status logprobs_bf16(hone_pool *pool, const hone_call *call) {
  return hone_logprobs_bf16(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                            call->inputs[1], call->inputs[2], call->outputs[0], call->outputs[1], call->outputs[2]);
}

static hone_status logprobs_grad_bf16(hone_pool *pool, const hone_call *call) {
  return hone_logprobs_grad_bf16(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                                 call->inputs[1], call->inputs[2], call->inputs[3], call->inputs[4], call->inputs[5],
                                 call->inputs[6], call->outputs[0]);
}

static hone_status logprobs_with_grad_bf16(hone_pool *pool, const hone_call *call) {
  return hone_logprobs_with_grad_bf16(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0),
                                      call->inputs[0], call->inputs[1], call->inputs[2], call->inputs[3],
                                      call->outputs[0], call->outputs[1], call->outputs[2]);
}

static const char *gather_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (in[0].rank != 2 || in[1].rank != 1) return "table must be a matrix and indices a row";
  matrix(&out[0], in[1].dims[0], in[0].dims[1]);
  return NULL;
}

static hone_status gather(hone_pool *pool, const hone_call *call) {
  return hone_gather_bf16(pool, size_of(call, 0, 0), size_of(call, 0, 1), size_of(call, 1, 0), call->inputs[0],
                          call->inputs[1], call->outputs[0]);
}

/* ---- ScatterAddRows: the first input has the result's rows, and nothing else that is read ---------------- */

static const char *scatter_shape(const hone_shape *in, const double *attributes, hone_shape *out) {
  (void)attributes;
  if (in[0].rank != 2 || in[1].rank != 1 || in[2].rank != 2) return "sizes and updates must be matrices and indices a row";
  if (differ(in[1].dims[0], in[2].dims[0])) return "there are not as many indices as updates";
  matrix(&out[0], in[0].dims[0], in[2].dims[1]);
  return NULL;
}

static hone_status scatter(hone_pool *pool, const hone_call *call) {
  return hone_scatter_add(pool, size_of(call, 0, 0), size_of(call, 2, 1), size_of(call, 2, 0), call->inputs[1],
                          call->inputs[2], call->outputs[0]);
}

#define HEAD_ATTRIBUTES {{"heads", 0, 0}, {"kvHeads", 0, 0}, {"scale", 1, 1}, {"window", 0, 0}}

/* name, inputs, of them required, outputs, of them required, types of inputs, of outputs, attributes, functions, masks */
const hone_op hone_ops[] = {
    {"MatMul", 3, 2, 1, 1, {FLOAT, FLOAT, FLOAT}, {FLOAT},
     {{"transA", 0, 0}, {"transB", 0, 0}, {"alpha", 1, 1}}, matmul_shape, matmul, 0, 2},
    {"MatMulSharing", 7, 3, 3, 2, {FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT, FLOAT},
     {{"transA", 0, 0}, {"transB", 0, 0}, {"alpha", 1, 1}, {"xIsB", 0, 0}}, sharing_shape, matmul_sharing, 4, C},
    {"RmsNorm", 2, 2, 2, 1, {FLOAT, FLOAT}, {FLOAT, FLOAT}, {{"eps", 1, 1e-6}}, norm_shape, norm, 0, -1},
    {"RmsNormGrad", 4, 4, 2, 1, {FLOAT, FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT}, {{0}}, norm_grad_shape, norm_grad, 2, -1},
    {"Swiglu", 2, 2, 1, 1, {FLOAT, FLOAT}, {FLOAT}, {{0}}, swiglu_shape, swiglu, 0, -1},
    {"SwigluGrad", 3, 3, 2, 2, {FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT}, {{0}}, swiglu_grad_shape, swiglu_grad, 0, -1},
    {"Rotary", 4, 4, 1, 1, {FLOAT, INT64, FLOAT, FLOAT}, {FLOAT}, {{"heads", 0, 0}, {"inverse", 0, 0}},
     rotary_shape, rotary, 0, -1},
    {"Attention", 4, 4, 2, 1, {FLOAT, FLOAT, FLOAT, INT32}, {FLOAT, FLOAT}, HEAD_ATTRIBUTES, attention_shape,
     attention, 0, -1},
    {"AttentionGrad", 7, 7, 3, 3, {FLOAT, FLOAT, FLOAT, INT32, FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT, FLOAT},
     HEAD_ATTRIBUTES, attention_grad_shape, attention_grad, 0, -1},
    {"DecodeAttention", 8, 8, 1, 1, {FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, INT32, INT32, INT32}, {FLOAT}, HEAD_ATTRIBUTES,
     decode_attention_shape, decode_attention, 0, -1},
    {"Logprobs", 3, 3, 3, 1, {FLOAT, FLOAT, INT64}, {FLOAT, FLOAT, FLOAT}, {{0}}, logprobs_shape, logprobs, 4, -1},
    {"LogprobsGrad", 7, 5, 2, 1, {FLOAT, FLOAT, INT64, FLOAT, FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT}, {{0}},
     logprobs_grad_shape, logprobs_grad, 2, -1},
    {"LogprobsWithGrad", 4, 4, 4, 1, {FLOAT, FLOAT, INT64, FLOAT}, {FLOAT, FLOAT, FLOAT, FLOAT}, {{0}},
     logprobs_with_grad_shape, logprobs_with_grad, 8, -1},
    {"MatMulQ4", 4, 3, 1, 1, {FLOAT, UINT8, FLOAT, UINT8}, {FLOAT}, {{"block", 0, 0}, {"trans", 0, 0}}, q4_shape, q4, 0, -1},
    {"MatMulBf16", 3, 2, 1, 1, {FLOAT, UINT16, FLOAT}, {FLOAT}, {{"trans", 0, 0}}, matmul_bf16_shape, matmul_bf16, 0, 2},
    {"MatMulSharingBf16", 7, 3, 3, 2, {FLOAT, UINT16, UINT16, UINT16, FLOAT, FLOAT, FLOAT}, {FLOAT, FLOAT, FLOAT},
     {{"trans", 0, 0}}, sharing_bf16_shape, matmul_sharing_bf16, 4, C},
    {"LogprobsBf16", 3, 3, 3, 1, {FLOAT, UINT16, INT64}, {FLOAT, FLOAT, FLOAT}, {{0}}, logprobs_shape, logprobs_bf16, 4,
     -1},
    {"LogprobsGradBf16", 7, 5, 1, 1, {FLOAT, UINT16, INT64, FLOAT, FLOAT, FLOAT, FLOAT}, {FLOAT}, {{0}},
     logprobs_grad_shape, logprobs_grad_bf16, 0, -1},
    {"LogprobsWithGradBf16", 4, 4, 3, 1, {FLOAT, UINT16, INT64, FLOAT}, {FLOAT, FLOAT, FLOAT}, {{0}},
     logprobs_with_grad_shape, logprobs_with_grad_bf16, 0, -1},
    {"PackPanels", 1, 1, 1, 1, {FLOAT}, {FLOAT}, {{0}}, pack_panels_shape, pack_panels, 0, -1},
    {"MatMulPanels", 3, 2, 1, 1, {FLOAT, FLOAT, FLOAT}, {FLOAT}, {{"columns", 0, 0}}, matmul_panels_shape, matmul_panels, 0, 2},
    {"GatherRowsBf16", 2, 2, 1, 1, {UINT16, INT64}, {FLOAT}, {{0}}, gather_shape, gather, 0, -1},
    {"ScatterAddRows", 3, 3, 1, 1, {FLOAT, INT64, FLOAT}, {FLOAT}, {{0}}, scatter_shape, scatter, 0, -1},
    {0},
};
