// How features lie in memory: as a network on a GPU leaves them. The CPU's kernels take the plain form alone.
#pragma once

#include "check.h"
#include "cuda/number.h"

namespace stylogram::ops {

/// `number`: their type; `channels_last`: (N, P, C) in place of (N, C, P), the only way for 16 bits; `unit`: what a 1
/// in memory stands for. Gradients on them lie in the same way, those on bfloat16 in bfloat16 and others in float32,
/// and are of the features themselves.
struct Form {
  cuda::Number number = cuda::Number::float32;
  bool channels_last = false;
  float unit = 1;
};

inline void require_plain(const char* op, const Form& form) {
  check(form.number == cuda::Number::float32 && !form.channels_last && form.unit == 1, op,
        "on the CPU float32 features with their channels first and a unit of 1 are accepted");
}

}  // namespace stylogram::ops
