#include "reserve.h"

#include "check.h"

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace stylogram {
namespace {

// A file that nobody else sees; it is gone with the last that refers to it.
int open_nameless(const std::string& directory) {
  std::string name = directory + "/.stylogram-XXXXXX";
  const int file = mkstemp(name.data());
  if (file < 0) fail("scratch", "no file can be made: ", std::strerror(errno));
  unlink(name.c_str());
  return file;
}

// The room is taken now: on a full disk a page written later would be a signal. Gives an errno, 0 if all is well.
int take_room(int file, std::size_t bytes) {
#if defined(__APPLE__)
  fstore_t room = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, static_cast<off_t>(bytes), 0};
  if (fcntl(file, F_PREALLOCATE, &room) < 0) return errno;
  return ftruncate(file, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
#else
  int problem = 0;
  do problem = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  while (problem == EINTR);
  return problem;
#endif
}

void* map(const std::string& directory, std::size_t bytes) {
  const int file = open_nameless(directory);
  int problem = take_room(file, bytes);
  void* block = nullptr;
  if (problem == 0) {
    block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (block == MAP_FAILED) problem = errno;
  }
  // Many vectors are read side by side: what lies around a page is not needed with it. fetch() says what is.
  if (problem == 0) madvise(block, bytes, MADV_RANDOM);
  close(file);
  if (problem != 0) fail("scratch", "no room for ", bytes >> 20, " MiB: ", std::strerror(problem));
  return block;
}

}  // namespace

Reserved::Reserved(std::size_t bytes, const std::string& directory)
    : bytes_(bytes), block_(map(directory, bytes + kAlignment)), mapped_(bytes + kAlignment) {}

Reserved::~Reserved() {
  if (mapped_ == 0) {
    std::free(block_);
  } else {
    munmap(block_, mapped_);
  }
}

void Reserved::fetch(std::size_t begin, std::size_t count) const {
  if (mapped_ == 0) return;
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(floats()) + begin;
  const std::uintptr_t start = first / page * page;
  madvise(reinterpret_cast<void*>(start), first + count - start, MADV_WILLNEED);  // a hint
}

}  // namespace stylogram

#else

namespace stylogram {

Reserved::Reserved(std::size_t, const std::string&) { fail("scratch", "files are not supported on this system"); }

Reserved::~Reserved() { std::free(block_); }

void Reserved::fetch(std::size_t, std::size_t) const {}

}  // namespace stylogram

#endif
