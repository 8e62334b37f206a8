/*
 * The part of onnxruntime's C API that operators need. Its headers are not shipped with onnxruntime-node; the table is
 * append-only, so a function is known by its place (onnxruntime_c_api.h, struct OrtApi, in order of declaration).
 */
#ifndef HONE_ORT_API_H
#define HONE_ORT_API_H

#include <stddef.h>
#include <stdint.h>

typedef void *const *ort_table;
typedef struct ort_status ort_status; /* NULL: all went well */

typedef struct {
  ort_table (*get_api)(uint32_t version);
  const char *(*get_version)(void);
} ort_api_base;

/* The version of the table that we ask for, and of our operator descriptions. */
#define ORT_VERSION 20

enum { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };
enum { ORT_FLOAT = 1, ORT_UINT8 = 2, ORT_INT32 = 6, ORT_INT64 = 7 };
enum { ORT_ATTRIBUTE_INT = 1, ORT_ATTRIBUTE_FLOAT = 3 };

#define ORT_CALL(api, place, ...) ((ort_status * (*)(__VA_ARGS__)) (api)[place])
#define ORT_VOID_CALL(api, place, ...) ((void (*)(__VA_ARGS__))(api)[place])

#define ort_create_status(api) ((ort_status * (*)(int, const char *)) (api)[0])
#define ort_create_domain(api) ORT_CALL(api, 26, const char *, void **)
#define ort_domain_add(api) ORT_CALL(api, 27, void *, const void *)
#define ort_add_domain(api) ORT_CALL(api, 28, void *, void *)
#define ort_tensor_data(api) ORT_CALL(api, 51, void *, void **)
#define ort_create_shape(api) ORT_CALL(api, 57, void **)
#define ort_set_element_type(api) ORT_CALL(api, 58, void *, int)
#define ort_set_dimensions(api) ORT_CALL(api, 59, void *, const int64_t *, size_t)
#define ort_dimensions_count(api) ORT_CALL(api, 61, const void *, size_t *)
#define ort_dimensions(api) ORT_CALL(api, 62, const void *, int64_t *, size_t)
#define ort_symbolic_dimensions(api) ORT_CALL(api, 63, const void *, const char **, size_t)
#define ort_tensor_shape(api) ORT_CALL(api, 65, const void *, void **)
#define ort_attribute_float(api) ORT_CALL(api, 85, const void *, const char *, float *)
#define ort_attribute_int(api) ORT_CALL(api, 86, const void *, const char *, int64_t *)
#define ort_input_count(api) ORT_CALL(api, 88, const void *, size_t *)
#define ort_output_count(api) ORT_CALL(api, 89, const void *, size_t *)
#define ort_input(api) ORT_CALL(api, 90, const void *, size_t, const void **)
#define ort_output(api) ORT_CALL(api, 91, void *, size_t, const int64_t *, size_t, void **)
#define ort_release_status(api) ORT_VOID_CALL(api, 93, ort_status *)
#define ort_release_shape(api) ORT_VOID_CALL(api, 99, void *)
#define ort_has_config(api) ORT_CALL(api, 237, const void *, const char *, int *)
#define ort_get_config(api) ORT_CALL(api, 238, const void *, const char *, char *, size_t *)
#define ort_infer_input_count(api) ORT_CALL(api, 267, const void *, size_t *)
#define ort_infer_input(api) ORT_CALL(api, 268, const void *, size_t, void **)
#define ort_infer_attribute(api) ORT_CALL(api, 269, const void *, const char *, const void **)
#define ort_infer_output(api) ORT_CALL(api, 270, const void *, size_t, const void *)
#define ort_set_symbols(api) ORT_CALL(api, 271, void *, const char **, size_t)
#define ort_read_attribute(api) ORT_CALL(api, 272, const void *, int, void *, size_t, size_t *)
#define ort_parallel_for(api) ORT_CALL(api, 274, const void *, void (*)(void *, size_t), size_t, size_t, void *)

/* An operator as onnxruntime reads it: struct OrtCustomOp. */
typedef struct ort_op {
  uint32_t version;
  void *(*create)(const struct ort_op *, ort_table, const void *info);
  const char *(*name)(const struct ort_op *);
  const char *(*provider)(const struct ort_op *);
  int (*input_type)(const struct ort_op *, size_t);
  size_t (*inputs)(const struct ort_op *);
  int (*output_type)(const struct ort_op *, size_t);
  size_t (*outputs)(const struct ort_op *);
  void (*compute)(void *kernel, void *context);
  void (*destroy)(void *kernel);
  int (*input_kind)(const struct ort_op *, size_t);
  int (*output_kind)(const struct ort_op *, size_t);
  int (*input_memory)(const struct ort_op *, size_t);
  int (*least_inputs)(const struct ort_op *);
  int (*same_inputs)(const struct ort_op *);
  int (*least_outputs)(const struct ort_op *);
  int (*same_outputs)(const struct ort_op *);
  ort_status *(*create_checked)(const struct ort_op *, ort_table, const void *info, void **kernel);
  ort_status *(*compute_checked)(void *kernel, void *context);
  ort_status *(*infer_shapes)(const struct ort_op *, void *context);
  int (*first_version)(const struct ort_op *);
  int (*last_version)(const struct ort_op *);
  size_t (*may_overwrite)(int **inputs, int **outputs);
  void (*free_overwrite)(int *inputs, int *outputs);
  size_t (*aliases)(int **inputs, int **outputs);
  void (*free_aliases)(int *inputs, int *outputs);
} ort_op;

#endif
