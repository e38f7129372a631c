// Large memory that is reserved at once and takes room only where it is touched, or lies in a file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace stylogram {

/// Zeroed memory, aligned to a cache line, freed with the object. Throws std::bad_alloc.
class Reserved {
 public:
  Reserved() = default;
  explicit Reserved(std::size_t bytes) : bytes_(bytes), block_(std::calloc(bytes + kAlignment, 1)) {
    if (block_ == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Passes over hundreds of vectors at once miss the TLB with small pages. A hint: its failure changes nothing.
    const auto page = std::uintptr_t{4096};
    const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(block_) + page - 1) / page * page;
    if (bytes > (std::size_t{1} << 22)) madvise(reinterpret_cast<void*>(begin), bytes - page, MADV_HUGEPAGE);
#endif
  }
  /// The same in a file without a name below `directory`, gone with this process however it ends. Its room is taken at
  /// once, and the system keeps as much of it in memory as there is room for. Throws std::invalid_argument where the
  /// directory or the disk does not have it.
  Reserved(std::size_t bytes, const std::string& directory);
  Reserved(const Reserved&) = delete;
  Reserved& operator=(const Reserved&) = delete;
  ~Reserved();

  /// Of memory in a file: bytes [begin, begin + count) after floats() are about to be used. Elsewhere nothing.
  void fetch(std::size_t begin, std::size_t count) const;

  float* floats() const {
    const auto address = reinterpret_cast<std::uintptr_t>(block_);
    return reinterpret_cast<float*>((address + kAlignment - 1) / kAlignment * kAlignment);
  }
  std::size_t bytes() const { return bytes_; }
  bool in_file() const { return mapped_ != 0; }

 private:
  static constexpr std::size_t kAlignment = 64;
  std::size_t bytes_ = 0;
  void* block_ = nullptr;
  std::size_t mapped_ = 0;  // bytes of the file; 0 without one
};

}  // namespace stylogram
