/*
 * Registers the operators of ops.c with onnxruntime, and lends kernels onnxruntime's own threads, so that two pools
 * never fight for the cores. The only file that knows onnxruntime.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hone.h"
#include "ops.h"
#include "ort_api.h"

#define DOMAIN_NAME "hone"
#define THREADS_ENTRY "hone.threads" /* session config entry: how large the session's pool is */
#define INVARIANT_ENTRY "hone.batch_invariant" /* the same: hone_pool's number of that name */
#define MOST_THREADS 256

/* onnxruntime's description of an operator, and after it our own: one set for each kind of pool. */
typedef struct {
  ort_op ort;
  ort_table api;
  const hone_op *op;
  int threads, batch_invariant;
} registered;

typedef struct {
  const registered *of;
  double attributes[MOST_ATTRIBUTES];
} kernel;

static ort_status *failure(ort_table api, int code, const char *op, const char *what) {
  char message[256];
  snprintf(message, sizeof message, "%s: %s", op, what);
  return ort_create_status(api)(code, message);
}

#define RETURN_IF_FAILED(call)               \
  do {                                       \
    ort_status *const failed = (call);       \
    if (failed != NULL) return failed;       \
  } while (0)

/* ---- a pool of onnxruntime's threads -------------------------------------------------------------------- */

typedef struct {
  const registered *of;
  void *context;
} pool_context;

typedef struct {
  hone_body body;
  void *arg;
} share;

static void run_share(void *given, size_t index) {
  const share *work = given;
  work->body(work->arg, (int64_t)index);
}

static void run_on_ort(hone_pool *pool, int64_t count, hone_body body, void *arg) {
  const pool_context *in = pool->context;
  share work = {body, arg};
  if (count <= 0) return;
  ort_status *failed = count == 1
                           ? (run_share(&work, 0), NULL)
                           : ort_parallel_for(in->of->api)(in->context, run_share, (size_t)count, 0, &work);
  if (failed == NULL) return;
  ort_release_status(in->of->api)(failed);
  for (int64_t index = 0; index < count; index++) body(arg, index);
}

/* ---- running a kernel ----------------------------------------------------------------------------------- */

static ort_status *read_shape(ort_table api, void *info, int symbols, hone_shape *out) {
  size_t rank = 0;
  RETURN_IF_FAILED(ort_dimensions_count(api)(info, &rank));
  /* Ranks we do not know stay wrong, and the operator's own check says so. */
  if (rank > MOST_RANK) {
    out->rank = (int)rank;
    return NULL;
  }
  int64_t sizes[MOST_RANK] = {0};
  const char *names[MOST_RANK] = {NULL};
  out->rank = (int)rank;
  if (rank == 0) return NULL;
  RETURN_IF_FAILED(ort_dimensions(api)(info, sizes, rank));
  if (symbols) RETURN_IF_FAILED(ort_symbolic_dimensions(api)(info, names, rank));
  for (size_t i = 0; i < rank; i++) out->dims[i] = (hone_dim){sizes[i], names[i]};
  return NULL;
}

static ort_status *read_inputs(const registered *of, void *context, hone_shape *shapes, hone_call *call) {
  ort_table api = of->api;
  size_t given = 0;
  RETURN_IF_FAILED(ort_input_count(api)(context, &given));
  for (int i = 0; i < of->op->inputs; i++) {
    shapes[i].rank = -1;
    const void *value = NULL;
    if ((size_t)i < given) RETURN_IF_FAILED(ort_input(api)(context, (size_t)i, &value));
    if (value == NULL) continue;
    void *info = NULL, *data = NULL;
    RETURN_IF_FAILED(ort_tensor_shape(api)(value, &info));
    ort_status *failed = read_shape(api, info, 0, &shapes[i]);
    ort_release_shape(api)(info);
    if (failed != NULL) return failed;
    /* The API has no reader for inputs; it only hands out the address. */
    RETURN_IF_FAILED(ort_tensor_data(api)((void *)value, &data));
    call->inputs[i] = data;
  }
  return NULL;
}

static int64_t bytes_of(const hone_shape *shape) {
  int64_t bytes = sizeof(float);
  for (int axis = 0; axis < shape->rank; axis++) bytes *= shape->dims[axis].size;
  return bytes;
}

/* `spare`: memory for outputs that nobody wants but the kernel writes. */
static ort_status *take_outputs(const registered *of, void *context, const hone_shape *shapes, hone_call *call,
                                void **spare) {
  ort_table api = of->api;
  size_t wanted = 0;
  RETURN_IF_FAILED(ort_output_count(api)(context, &wanted));
  for (int i = 0; i < of->op->outputs; i++) {
    int64_t sizes[MOST_RANK];
    for (int axis = 0; axis < shapes[i].rank; axis++) sizes[axis] = shapes[i].dims[axis].size;
    void *value = NULL;
    if ((size_t)i < wanted)
      RETURN_IF_FAILED(ort_output(api)(context, (size_t)i, sizes, (size_t)shapes[i].rank, &value));
    if (value != NULL) {
      RETURN_IF_FAILED(ort_tensor_data(api)(value, &call->outputs[i]));
    } else if ((of->op->dispensable >> i & 1) == 0) {
      call->outputs[i] = spare[i] = hone_take((size_t)bytes_of(&shapes[i]));
      if (spare[i] == NULL) return failure(api, ORT_FAIL, of->op->name, "out of memory");
    }
  }
  return NULL;
}

static ort_status *status_of(const registered *of, hone_status status) {
  switch (status) {
    case HONE_OK: return NULL;
    case HONE_NO_MEMORY: return failure(of->api, ORT_FAIL, of->op->name, "out of memory");
    case HONE_BAD_ENDS:
      return failure(of->api, ORT_INVALID_ARGUMENT, of->op->name,
                     "ends are not the index behind the last token that sees each token");
    case HONE_BAD_INDEX:
      return failure(of->api, ORT_INVALID_ARGUMENT, of->op->name, "a target or position is outside its table");
    default: return failure(of->api, ORT_INVALID_ARGUMENT, of->op->name, "sizes that this operator does not handle");
  }
}

static ort_status *compute(void *given, void *context) {
  const kernel *const self = given;
  const registered *of = self->of;
  hone_shape in[MOST_INPUTS], out[MOST_OUTPUTS];
  hone_call call = {.in = in, .out = out, .attributes = self->attributes};
  RETURN_IF_FAILED(read_inputs(of, context, in, &call));
  const char *wrong = of->op->shape(in, self->attributes, out);
  if (wrong != NULL) return failure(of->api, ORT_INVALID_ARGUMENT, of->op->name, wrong);
  void *spare[MOST_OUTPUTS] = {NULL};
  ort_status *failed = take_outputs(of, context, out, &call, spare);
  if (failed == NULL) {
    pool_context threads = {of, context};
    hone_pool pool = {&threads, run_on_ort, of->threads, of->batch_invariant};
    failed = status_of(of, of->op->compute(&pool, &call));
  }
  for (int i = 0; i < of->op->outputs; i++) hone_give(spare[i]);
  return failed;
}

static ort_status *create(const ort_op *op, ort_table api, const void *info, void **out) {
  const registered *of = (const registered *)op;
  kernel *self = calloc(1, sizeof(kernel));
  if (self == NULL) return failure(api, ORT_FAIL, of->op->name, "out of memory");
  self->of = of;
  for (int i = 0; i < MOST_ATTRIBUTES && of->op->attributes[i].name != NULL; i++) {
    const hone_attribute *attribute = &of->op->attributes[i];
    int64_t whole = 0;
    float real = 0;
    ort_status *missing = attribute->is_float ? ort_attribute_float(api)(info, attribute->name, &real)
                                              : ort_attribute_int(api)(info, attribute->name, &whole);
    self->attributes[i] = missing != NULL ? attribute->otherwise : attribute->is_float ? (double)real : (double)whole;
    if (missing != NULL) ort_release_status(api)(missing);
  }
  *out = self;
  return NULL;
}

static void destroy(void *self) { free(self); }

/* ---- shapes before a graph runs, with which onnxruntime plans its memory -------------------------------- */

static ort_status *infer_attributes(const registered *of, void *context, double *values) {
  for (int i = 0; i < MOST_ATTRIBUTES && of->op->attributes[i].name != NULL; i++) {
    const hone_attribute *attribute = &of->op->attributes[i];
    values[i] = attribute->otherwise;
    const void *found = NULL;
    ort_status *failed = ort_infer_attribute(of->api)(context, attribute->name, &found);
    if (failed == NULL && found != NULL) {
      int64_t whole = 0;
      float real = 0;
      size_t bytes = 0;
      failed = attribute->is_float
                   ? ort_read_attribute(of->api)(found, ORT_ATTRIBUTE_FLOAT, &real, sizeof real, &bytes)
                   : ort_read_attribute(of->api)(found, ORT_ATTRIBUTE_INT, &whole, sizeof whole, &bytes);
      if (failed == NULL) values[i] = attribute->is_float ? (double)real : (double)whole;
    }
    if (failed != NULL) ort_release_status(of->api)(failed);
  }
  return NULL;
}

static ort_status *set_output(ort_table api, void *context, size_t index, const hone_shape *shape, int type) {
  void *info = NULL;
  int64_t sizes[MOST_RANK];
  const char *names[MOST_RANK];
  for (int axis = 0; axis < shape->rank; axis++) {
    const hone_dim dim = shape->dims[axis];
    /* onnxruntime would keep -1 as a size, find it equal to the next -1, and give both tensors the same memory. */
    if (dim.size < 0 && (dim.symbol == NULL || dim.symbol[0] == 0)) return NULL;
    sizes[axis] = dim.size;
    names[axis] = dim.size < 0 ? dim.symbol : "";
  }
  RETURN_IF_FAILED(ort_create_shape(api)(&info));
  ort_status *failed = ort_set_element_type(api)(info, type);
  if (failed == NULL) failed = ort_set_dimensions(api)(info, sizes, (size_t)shape->rank);
  if (failed == NULL) failed = ort_set_symbols(api)(info, names, (size_t)shape->rank);
  if (failed == NULL) failed = ort_infer_output(api)(context, index, info);
  ort_release_shape(api)(info);
  return failed;
}

static ort_status *infer_shapes(const ort_op *op, void *context) {
  const registered *of = (const registered *)op;
  hone_shape in[MOST_INPUTS], out[MOST_OUTPUTS];
  double attributes[MOST_ATTRIBUTES] = {0};
  size_t given = 0;
  RETURN_IF_FAILED(ort_infer_input_count(of->api)(context, &given));
  for (int i = 0; i < of->op->inputs; i++) {
    in[i].rank = -1;
    void *info = NULL;
    /* The shape belongs to the context. */
    if ((size_t)i < given) RETURN_IF_FAILED(ort_infer_input(of->api)(context, (size_t)i, &info));
    if (info != NULL) RETURN_IF_FAILED(read_shape(of->api, info, 1, &in[i]));
  }
  RETURN_IF_FAILED(infer_attributes(of, context, attributes));
  const char *wrong = of->op->shape(in, attributes, out);
  if (wrong != NULL) return failure(of->api, ORT_INVALID_ARGUMENT, of->op->name, wrong);
  /* The context drops what is said of outputs that the node does not have. */
  for (int i = 0; i < of->op->outputs; i++)
    RETURN_IF_FAILED(set_output(of->api, context, (size_t)i, &out[i], of->op->output_types[i]));
  return NULL;
}

/* ---- the description ------------------------------------------------------------------------------------ */

static const hone_op *described(const ort_op *op) { return ((const registered *)op)->op; }
static const char *name(const ort_op *op) { return described(op)->name; }
static const char *provider(const ort_op *op) { return (void)op, NULL; }
static int input_type(const ort_op *op, size_t index) { return described(op)->input_types[index]; }
static int output_type(const ort_op *op, size_t index) { return described(op)->output_types[index]; }
static size_t inputs(const ort_op *op) { return (size_t)described(op)->inputs; }
static size_t outputs(const ort_op *op) { return (size_t)described(op)->outputs; }
static int input_kind(const ort_op *op, size_t index) { return (int)index >= described(op)->required_inputs; }
static int output_kind(const ort_op *op, size_t index) { return (int)index >= described(op)->required_outputs; }
static int zero(const ort_op *op) { return (void)op, 0; }
static int zero_at(const ort_op *op, size_t index) { return (void)op, (void)index, 0; }
static int one(const ort_op *op) { return (void)op, 1; }
static int any_version(const ort_op *op) { return (void)op, 0x7fffffff; }

/* The API does not say for which operator; only the matrix multiplies have some: a c may become its y. */
static size_t overwrites(int first, size_t count, int **in, int **out) {
  *in = malloc(count * sizeof(int));
  *out = malloc(count * sizeof(int));
  if (*in == NULL || *out == NULL) return 0;
  for (size_t i = 0; i < count; i++) (*in)[i] = first + (int)i, (*out)[i] = (int)i;
  return count;
}

static size_t matmul_overwrites(int **in, int **out) { return overwrites(2, 1, in, out); }
static size_t sharing_overwrites(int **in, int **out) {
  return overwrites(1 + HONE_MOST_SHARING, HONE_MOST_SHARING, in, out);
}

static void free_overwrites(int *in, int *out) {
  free(in);
  free(out);
}

static const ort_op template_op = {.version = ORT_VERSION,
                                   .name = name,
                                   .provider = provider,
                                   .input_type = input_type,
                                   .inputs = inputs,
                                   .output_type = output_type,
                                   .outputs = outputs,
                                   .destroy = destroy,
                                   .input_kind = input_kind,
                                   .output_kind = output_kind,
                                   .input_memory = zero_at,
                                   .least_inputs = zero,
                                   .same_inputs = zero,
                                   .least_outputs = zero,
                                   .same_outputs = zero,
                                   .create_checked = create,
                                   .compute_checked = compute,
                                   .infer_shapes = infer_shapes,
                                   .first_version = one,
                                   .last_version = any_version};

/* ---- registration --------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* One domain for each kind of pool, kept for the life of the process: sessions of any thread share it. */
static void *domains[MOST_THREADS + 1][3];

static ort_status *make_domain(ort_table api, int threads, int batch_invariant, void **out) {
  void *domain = NULL;
  RETURN_IF_FAILED(ort_create_domain(api)(DOMAIN_NAME, &domain));
  int count = 0;
  while (hone_ops[count].name != NULL) count++;
  registered *ops = calloc((size_t)count, sizeof(registered));
  if (ops == NULL) return failure(api, ORT_FAIL, DOMAIN_NAME, "out of memory");
  for (int i = 0; i < count; i++) {
    ops[i] = (registered){template_op, api, &hone_ops[i], threads, batch_invariant};
    if (hone_ops[i].overwrites >= 0) {
      ops[i].ort.may_overwrite = hone_ops[i].outputs == 1 ? matmul_overwrites : sharing_overwrites;
      ops[i].ort.free_overwrite = free_overwrites;
    }
    RETURN_IF_FAILED(ort_domain_add(api)(domain, &ops[i].ort));
  }
  *out = domain;
  return NULL;
}

/* The number that a session's configuration has under a name, or 0. */
static int configured(ort_table api, const void *options, const char *name) {
  int there = 0;
  char text[16] = "0";
  size_t length = sizeof text;
  ort_status *failed = ort_has_config(api)(options, name, &there);
  if (failed == NULL && there) failed = ort_get_config(api)(options, name, text, &length);
  if (failed != NULL) ort_release_status(api)(failed);
  return atoi(text);
}

/* The name that onnxruntime looks for in a library of operators. */
HONE_API ort_status *RegisterCustomOps(void *options, const ort_api_base *base) {
  ort_table api = base->get_api(ORT_VERSION);
  if (api == NULL) return NULL;
  const int asked = configured(api, options, THREADS_ENTRY);
  const int threads = asked < 1 ? 1 : asked > MOST_THREADS ? MOST_THREADS : asked;
  const int said = configured(api, options, INVARIANT_ENTRY);
  const int batch_invariant = said == HONE_FEW_ROWS || said == HONE_MANY_ROWS ? said : 0;
  void **domain = &domains[threads][batch_invariant];
  pthread_mutex_lock(&lock);
  ort_status *failed = *domain == NULL ? make_domain(api, threads, batch_invariant, domain) : NULL;
  pthread_mutex_unlock(&lock);
  return failed != NULL ? failed : ort_add_domain(api)(options, *domain);
}
