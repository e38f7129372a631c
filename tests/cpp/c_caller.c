/* A caller in C: the header has to compile as C, and a run has to work from there. */
#include "stylogram/stylogram.h"

stylogram_status run_from_c(const char* folder, const stylogram_options* options, const float* picture, int64_t height,
                            int64_t width, float* out, double* loss) {
  stylogram_engine* engine = NULL;
  stylogram_status status = stylogram_create(folder, options, &engine);
  if (status == STYLOGRAM_OK) status = stylogram_set_style(engine, picture, 1, height, width);
  if (status == STYLOGRAM_OK) status = stylogram_set_content(engine, picture, 1, height, width);
  if (status == STYLOGRAM_OK) status = stylogram_run(engine, 3, NULL, NULL);
  if (status == STYLOGRAM_OK) status = stylogram_losses(engine, NULL, loss, 1);
  if (status == STYLOGRAM_OK) status = stylogram_picture(engine, out, (size_t)(3 * height * width));
  stylogram_destroy(engine);
  return status;
}
