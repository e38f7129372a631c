// What ONNX Runtime calls: RegisterCustomOps, which adds the domain `stylogram` with our ops to a session.
//
// Everything goes through ONNX Runtime's C API, which is handed in: nothing is linked. Threads are the session's.
#include <array>
#include <mutex>

#include "ort/cuda_bias_relu.h"
#include "ort/cuda_cast.h"
#include "ort/cuda_conv.h"
#include "ort/cuda_pool.h"
#include "ort/cuda_relu_gradient.h"
#include "ort/max_pool_gradient.h"
#include "ort/pointwise_conv.h"
#include "ort/winograd_conv.h"

namespace stylogram::ort {
namespace {

using cuda::Number;

OrtStatus* add_domain(OrtSessionOptions* options, const OrtApi& api) {
  // The GPU's are the CPU provider's too, where tests run them on an emulated GPU, whose memory is the host's; but for
  // convolutions, which cuDNN does.
  static const auto ops = std::array{
      described<WinogradConv>(),
      described<PointwiseConv>(),
      described<MaxPoolGradient>(),
      described<CudaMaxPool>(),
      described<CudaMaxPoolGradient>(),
      described<CudaAveragePool>(),
      described<CudaAveragePoolGradient>(),
      described<CudaReluGradient>(),
      described<CudaBiasRelu>(),
      described<CudaNarrow<Number::float16>>(),
      described<CudaNarrow<Number::bfloat16>>(),
      described<CudaWiden<Number::float16>>(),
      described<CudaWiden<Number::bfloat16>>(),
      described<CudaPeak>(),
      described<CudaConv, Provider::cuda>(),
      described<CudaConvTranspose, Provider::cuda>(),
      described<CudaMaxPool, Provider::cuda>(),
      described<CudaMaxPoolGradient, Provider::cuda>(),
      described<CudaAveragePool, Provider::cuda>(),
      described<CudaAveragePoolGradient, Provider::cuda>(),
      described<CudaReluGradient, Provider::cuda>(),
      described<CudaBiasRelu, Provider::cuda>(),
      described<CudaNarrow<Number::float16>, Provider::cuda>(),
      described<CudaNarrow<Number::bfloat16>, Provider::cuda>(),
      described<CudaWiden<Number::float16>, Provider::cuda>(),
      described<CudaWiden<Number::bfloat16>, Provider::cuda>(),
      described<CudaPeak, Provider::cuda>(),
  };
  static std::mutex mutex;
  static OrtCustomOpDomain* domain = nullptr;  // for the process: sessions that use it may outlive any scope
  const std::lock_guard<std::mutex> lock(mutex);
  if (domain == nullptr) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatus* status = api.CreateCustomOpDomain("stylogram", &made)) return status;
    for (const OrtCustomOp& op : ops) {
      if (OrtStatus* status = api.CustomOpDomain_Add(made, &op)) return status;
    }
    domain = made;
  }
  return api.AddCustomOpDomain(options, domain);
}

}  // namespace
}  // namespace stylogram::ort

extern "C" __attribute__((visibility("default"))) OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                                                               const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(stylogram::ort::kApiVersion);
  if (api == nullptr) return base->GetApi(1)->CreateStatus(ORT_FAIL, "[stylogram] ONNX Runtime is older than 1.20");
  return stylogram::ort::add_domain(options, *api);
}
