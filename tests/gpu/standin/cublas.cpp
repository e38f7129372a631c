// cuBLAS without a GPU: it transposes matrices, which is how ONNX Runtime turns a single picture, and writes that down.
#include <cstddef>

extern "C" void standin_say(const char* what, const void* stream, const char* more);

/// c = α op(a) + 0 b; matrices lie column by column.
extern "C" __attribute__((visibility("default"))) int cublasSgeam(void*, int turned, int, int rows, int columns,
                                                                  const float* alpha, const float* a, int lead_a,
                                                                  const float*, const float*, int, float* c, int lead) {
  standin_say("cublas", nullptr, "cublasSgeam");
  for (std::size_t column = 0; column < static_cast<std::size_t>(columns); ++column)
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row)
      c[column * lead + row] = *alpha * a[turned != 0 ? row * lead_a + column : column * lead_a + row];
  return 0;
}
