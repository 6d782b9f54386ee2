// Where the state stands. It survives its writer's death at any byte; what the text means is not known here.
#include "state/memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/fingerprint.h"

namespace refork::state {
namespace {

struct Half {
  std::uint64_t number = 0, length = 0, checksum = 0;
};
constexpr std::array<off_t, 2> heads = {0, 4096};
constexpr off_t texts = 8192;

off_t text_of(std::size_t half) { return texts + static_cast<off_t>(half * Memory::half_size); }

std::uint64_t checksum(const Half& half, std::string_view text) {
  base::Fingerprint sum;
  sum.add(&half.number, sizeof half.number);
  sum.add(&half.length, sizeof half.length);
  sum.add(text.data(), text.size());
  return sum.value();
}

bool put(int fd, const void* from, std::size_t size, off_t offset) {
  const auto* bytes = static_cast<const char*>(from);
  while (size > 0) {
    const ssize_t put = ::pwrite(fd, bytes, size, offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes += put;
    offset += put;
    size -= static_cast<std::size_t>(put);
  }
  return true;
}

bool get(int fd, void* into, std::size_t size, off_t offset) {
  auto* bytes = static_cast<char*>(into);
  while (size > 0) {
    const ssize_t got = ::pread(fd, bytes, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes += got;
    offset += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

struct Found {
  std::uint64_t number;
  std::string text;
};

std::optional<Found> read_half(int fd, std::size_t index) {
  Half half;
  struct stat file {};
  if (!get(fd, &half, sizeof half, heads[index]) || half.number == 0 || half.length > Memory::half_size ||
      ::fstat(fd, &file) != 0 || file.st_size < text_of(index) + static_cast<off_t>(half.length))
    return std::nullopt;
  std::string text(half.length, '\0');
  if (!get(fd, text.data(), text.size(), text_of(index)) || checksum(half, text) != half.checksum)
    return std::nullopt;
  return Found{half.number, std::move(text)};
}

std::optional<Found> newest(int fd) {
  auto first = read_half(fd, 0), second = read_half(fd, 1);
  if (first && second) return first->number > second->number ? first : second;
  return first ? first : second;
}

}  // namespace

base::Result<Memory> Memory::create() {
  base::UniqueFd fd(::memfd_create("refork-state", MFD_CLOEXEC));
  if (!fd) return base::errno_error("make the memory of reforkd's state");
  return Memory(std::move(fd));
}

base::Result<Memory> Memory::adopt(base::UniqueFd fd) {
  Memory memory(std::move(fd));
  if (const auto found = newest(memory.fd())) memory.number_ = found->number;
  return memory;
}

base::Result<void> Memory::write(std::string_view text) {
  if (text.size() > half_size)
    return base::Error{EMSGSIZE, "reforkd's state has " + std::to_string(text.size()) +
                                     " bytes, it may have " + std::to_string(half_size)};
  Half half{number_ + 1, text.size(), 0};
  half.checksum = checksum(half, text);
  const std::size_t index = half.number % 2;
  if (!put(fd_.get(), text.data(), text.size(), text_of(index)) ||
      !put(fd_.get(), &half, sizeof half, heads[index]))
    return base::errno_error("write reforkd's state");
  number_ = half.number;
  return {};
}

base::Result<std::string> Memory::read() const {
  auto found = newest(fd_.get());
  if (!found) return base::Error{ENODATA, "reforkd's state holds nothing whole"};
  return std::move(found->text);
}

}  // namespace refork::state
