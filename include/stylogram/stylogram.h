/* libstylogram from C, and from every language that calls C. See stylogram.hpp for what each call means.
 *
 * Pictures are float32 (N,3,H,W), RGB, plane after plane, in the caller's memory: read or written during the call,
 * never kept. Every function may be called from any thread, with any engine: a handle that is NULL, or that was
 * destroyed, is answered with STYLOGRAM_INVALID_ENGINE. No exception leaves a function.
 */
#ifndef STYLOGRAM_H
#define STYLOGRAM_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define STYLOGRAM_C_PUBLIC __attribute__((visibility("default")))
#else
#define STYLOGRAM_C_PUBLIC
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct stylogram_engine stylogram_engine;

typedef enum stylogram_status {
  STYLOGRAM_OK = 0,
  STYLOGRAM_CANCELLED = 1,
  STYLOGRAM_INVALID_ARGUMENT = 2, /* a wrong shape, a null pointer, a value out of its range */
  STYLOGRAM_INVALID_ENGINE = 3,   /* NULL, or destroyed */
  STYLOGRAM_NETWORK = 4,          /* files that are no pair, or a pair that this library cannot use */
  STYLOGRAM_ONNXRUNTIME = 5,      /* ONNX Runtime is not found, or reports an error */
  STYLOGRAM_OUT_OF_MEMORY = 6,
  STYLOGRAM_DIVERGED = 7, /* the losses became NaN or infinite; the best picture can still be taken */
  STYLOGRAM_STATE = 8,    /* a call at the wrong time */
  STYLOGRAM_INTERNAL = 9
} stylogram_status;

/* Fill it with stylogram_options_init, then change what should differ. */
typedef struct stylogram_options {
  size_t size;             /* of this struct: set by stylogram_options_init */
  const char* onnxruntime; /* the library's file; NULL: found by itself */
  int threads;             /* 0: all processors */
  int history;
  double content_weight, style_weight, tv_weight, precondition; /* NaN: what the pair says */
} stylogram_options;

typedef struct stylogram_style {
  const float* data;
  int64_t count, height, width;
  double share;
} stylogram_style;

/* Called after every iteration in the thread of stylogram_run; 0 ends the run. losses: (count), of the present
 * pictures, valid during the call. It may call any function but those that set something, step or run the same engine.
 */
typedef int (*stylogram_callback)(void* user, int64_t iteration, int64_t last, const double* losses, int64_t count);

STYLOGRAM_C_PUBLIC const char* stylogram_version(void);
/* The message of the last call of this thread that failed; "" if none did. Valid until the thread's next such call. */
STYLOGRAM_C_PUBLIC const char* stylogram_last_error(void);

STYLOGRAM_C_PUBLIC void stylogram_options_init(stylogram_options* options);
/* options may be NULL. *engine is set to NULL on failure; otherwise stylogram_destroy frees it. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_create(const char* folder, const stylogram_options* options,
                                                     stylogram_engine** engine);
/* Cancels what other threads do with the engine, waits for them, and frees it. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_destroy(stylogram_engine* engine);

STYLOGRAM_C_PUBLIC stylogram_status stylogram_set_style(stylogram_engine* engine, const float* data, int64_t count,
                                                        int64_t height, int64_t width);
STYLOGRAM_C_PUBLIC stylogram_status stylogram_set_styles(stylogram_engine* engine, const stylogram_style* styles,
                                                         size_t count);
STYLOGRAM_C_PUBLIC stylogram_status stylogram_set_content(stylogram_engine* engine, const float* data, int64_t count,
                                                          int64_t height, int64_t width);
STYLOGRAM_C_PUBLIC stylogram_status stylogram_set_picture(stylogram_engine* engine, const float* data, int64_t count,
                                                          int64_t height, int64_t width);

/* STYLOGRAM_OK or STYLOGRAM_CANCELLED, or an error. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_step(stylogram_engine* engine);
/* callback may be NULL. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_run(stylogram_engine* engine, int64_t iterations,
                                                  stylogram_callback callback, void* user);
STYLOGRAM_C_PUBLIC stylogram_status stylogram_cancel(stylogram_engine* engine);

/* shape: count, height, width. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_shape(stylogram_engine* engine, int64_t shape[3]);
STYLOGRAM_C_PUBLIC stylogram_status stylogram_iteration(stylogram_engine* engine, int64_t* iteration);
/* losses: (count), count = N. term: NULL for all, or "content", "style", "tv", "style conv1_1", ... */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_losses(stylogram_engine* engine, const char* term, double* losses,
                                                     size_t count);
/* out: count = N·3·H·W numbers; the best pictures, clipped to [0,1]. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_picture(stylogram_engine* engine, float* out, size_t count);
/* The present pictures, not clipped. */
STYLOGRAM_C_PUBLIC stylogram_status stylogram_present(stylogram_engine* engine, float* out, size_t count);

#ifdef __cplusplus
}
#endif

#endif
