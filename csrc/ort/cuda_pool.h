// Pools over pictures in ONNX Runtime's CUDA provider (pool/max.h, pool/average.h).
#pragma once

#include "ort/cuda_op.h"
#include "ort/pool.h"
#include "pool/max.h"

namespace stylogram::ort {

/// `channels_last`: (N,H,W,C) in place of (N,C,H,W).
class CudaPool : public CudaNode<Pool> {
 protected:
  CudaPool(const char* name, const OrtApi& api, const OrtKernelInfo* info);

  // How the windows of a pool of a picture of shape x, for y, lie.
  pool::Planes over(OrtKernelContext* context, const Shape& x, const Shape& y) const;
  // `x` with `sizes` for its height and width.
  Shape with_sizes(Shape x, const std::array<std::int64_t, 2>& sizes) const;
  bool channels_last_;
};

/// x  ->  y, whose height and width are `sizes`. In float32, float16 or bfloat16, as the other.
class CudaMaxPool : public CudaPool {
 public:
  enum Input : std::size_t { kX, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaMaxPool";
  static constexpr std::size_t kRequired = kInputs;

  CudaMaxPool(const OrtApi& api, const OrtKernelInfo* info);
  void run(OrtKernelContext* context) const;

 private:
  std::array<std::int64_t, 2> sizes_;
};

/// x and gy, of the shape of its pool  ->  gx, of x's shape. `positive`: only maxima above 0 count.
class CudaMaxPoolGradient : public CudaPool {
 public:
  enum Input : std::size_t { kX, kGy, kInputs };
  enum Output : std::size_t { kGx, kOutputs };
  static constexpr const char* kName = "CudaMaxPoolGradient";
  static constexpr std::size_t kRequired = kInputs;

  CudaMaxPoolGradient(const OrtApi& api, const OrtKernelInfo* info);
  void run(OrtKernelContext* context) const;

 private:
  bool positive_;
};

/// x  ->  y, whose height and width are `sizes`: `scale` times the sums over its windows.
class CudaAveragePool : public CudaPool {
 public:
  enum Input : std::size_t { kX, kInputs };
  enum Output : std::size_t { kY, kOutputs };
  static constexpr const char* kName = "CudaAveragePool";
  static constexpr std::size_t kRequired = kInputs;

  CudaAveragePool(const OrtApi& api, const OrtKernelInfo* info) : CudaAveragePool(kName, api, info) {}
  void run(OrtKernelContext* context) const;

 protected:
  CudaAveragePool(const char* name, const OrtApi& api, const OrtKernelInfo* info);

  std::array<std::int64_t, 2> sizes_;
  float scale_;
};

/// gy  ->  gx, whose height and width are `sizes`: the gradient of CudaAveragePool.
class CudaAveragePoolGradient : public CudaAveragePool {
 public:
  static constexpr const char* kName = "CudaAveragePoolGradient";

  CudaAveragePoolGradient(const OrtApi& api, const OrtKernelInfo* info) : CudaAveragePool(kName, api, info) {}
  void run(OrtKernelContext* context) const;
};

}  // namespace stylogram::ort
