// The types of a network's numbers on a GPU.
#pragma once

namespace stylogram::cuda {

enum class Number { float32, float16, bfloat16 };

}  // namespace stylogram::cuda
