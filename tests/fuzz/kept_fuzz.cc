// Whatever a keeper hands back as the memory of the state or of the history: it is read within its bounds or
// refused, and can be written to. The input's first byte chooses which; the others are a list of patches to a
// sound one: offset (u32), length (u16), that many bytes; a length of 65535 truncates the file there.

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/unique_fd.h"
#include "state/lines.h"
#include "state/memory.h"

namespace {

using namespace refork::state;
using refork::base::UniqueFd;

constexpr std::uint16_t truncates = 65535;
constexpr std::uint64_t longest = 1 << 20;
constexpr std::uint32_t reach = 32768;  // both forms have all that is not text below this

void require(bool holds) {
  if (!holds) std::abort();
}

UniqueFd copy_of(int fd) { return UniqueFd(::dup(fd)); }

// Whole patches only.
void patch(int fd, const std::uint8_t* data, std::size_t size) {
  for (std::size_t at = 0; size - at >= 6;) {
    std::uint32_t offset = 0;
    std::uint16_t length = 0;
    std::memcpy(&offset, data + at, 4);
    std::memcpy(&length, data + at + 4, 2);
    at += 6;
    offset %= reach;
    if (length == truncates) {
      require(::ftruncate(fd, offset) == 0);
      continue;
    }
    if (length > size - at) return;
    require(::pwrite(fd, data + at, length, offset) == length);
    at += length;
  }
}

// Sound as far as it goes, but a sum over all that takes seconds here.
bool is_long(int fd) {
  for (const off_t length_at : {8, 4104}) {
    std::uint64_t length = 0;
    if (::pread(fd, &length, sizeof length, length_at) == sizeof length && length > longest &&
        length <= Memory::half_size)
      return true;
  }
  return false;
}

void read_memory(const std::uint8_t* data, std::size_t size) {
  auto sound = Memory::create();
  if (!sound || !sound->write("the first text") || !sound->write("the second text")) return;
  patch(sound->fd(), data, size);
  if (is_long(sound->fd())) return;
  auto adopted = Memory::adopt(copy_of(sound->fd()));
  require(adopted.ok());
  if (const auto text = adopted->read()) require(text->size() <= Memory::half_size);
  if (adopted->write("a new text")) {
    const auto text = adopted->read();
    require(text.ok());
    // A half of the largest number there is cannot be followed by a larger one.
    const auto once_more = Memory::adopt(copy_of(sound->fd()));
    require(once_more.ok() && once_more->read().ok());
  }
}

void read_lines(const std::uint8_t* data, std::size_t size) {
  auto sound = Lines::create();
  if (!sound || !sound->append("the first line") || !sound->append("the second")) return;
  patch(sound->fd(), data, size);
  auto adopted = Lines::adopt(copy_of(sound->fd()));
  if (!adopted) return;
  const auto before = adopted->read();
  for (const auto& line : before) require(line.find('\n') == std::string::npos);
  if (!adopted->append("one more")) return;
  const auto after = adopted->read();
  require(after.size() == before.size() + 1 && after.back() == "one more");
  require(adopted->rewrite(after).ok() && adopted->read() == after);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  data[0] % 2 == 0 ? read_memory(data + 1, size - 1) : read_lines(data + 1, size - 1);
  return 0;
}
