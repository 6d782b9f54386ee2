// An append-only text that survives its writer's death at any byte. What the lines mean is not known here.
#include "state/lines.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace refork::state {
namespace {

constexpr std::size_t first_half = 4096;

off_t begin_of(std::size_t half) { return static_cast<off_t>(first_half + half * Lines::half_size); }

bool put(int fd, std::string_view text, off_t offset) {
  while (!text.empty()) {
    const ssize_t count = ::pwrite(fd, text.data(), text.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
    offset += count;
  }
  return true;
}

}  // namespace

base::Result<Lines> Lines::create() {
  base::UniqueFd fd(::memfd_create("refork-history", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), begin_of(2)) != 0)
    return base::errno_error("make the memory of reforkd's history");
  return Lines(std::move(fd));
}

base::Result<Lines> Lines::adopt(base::UniqueFd fd) {
  Lines lines(std::move(fd));
  std::uint64_t half = 0;
  if (::pread(lines.fd(), &half, sizeof half, 0) != sizeof half || half > 1)
    return base::Error{EPROTO, "reforkd's history has another form"};
  lines.half_ = half;
  const std::string text = lines.text_of(half);
  const auto last = text.rfind('\n');
  lines.used_ = lines.rewritten_ = last == std::string::npos ? 0 : last + 1;
  lines.wipe(half, lines.used_);  // a line that was torn
  return lines;
}

// Up to the first NUL.
std::string Lines::text_of(std::size_t half) const {
  std::string text;
  std::array<char, 65536> part;
  while (text.size() < half_size) {
    const std::size_t wanted = std::min(part.size(), half_size - text.size());
    const ssize_t count =
        ::pread(fd_.get(), part.data(), wanted, begin_of(half) + static_cast<off_t>(text.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    const auto length = ::strnlen(part.data(), static_cast<std::size_t>(count));
    text.append(part.data(), length);
    if (length < static_cast<std::size_t>(count)) break;
  }
  return text;
}

void Lines::wipe(std::size_t half, std::size_t from) const {
  static_cast<void>(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                begin_of(half) + static_cast<off_t>(from),
                                static_cast<off_t>(half_size - from)));
}

std::vector<std::string> Lines::read() const {
  std::vector<std::string> all;
  const std::string text = text_of(half_);
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    all.push_back(text.substr(begin, end - begin));
  return all;
}

bool Lines::append(std::string_view line) {
  if (used_ + line.size() + 1 > half_size) return false;
  if (!put(fd_.get(), std::string(line) + "\n", begin_of(half_) + static_cast<off_t>(used_))) return false;
  used_ += line.size() + 1;
  return true;
}

base::Result<void> Lines::rewrite(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) (text += line) += '\n';
  if (text.size() > half_size)
    return base::Error{EMSGSIZE, "reforkd's history has " + std::to_string(text.size()) +
                                     " bytes, it may have " + std::to_string(half_size)};
  const std::uint64_t other = 1 - half_;
  wipe(other, 0);
  const std::string_view number(reinterpret_cast<const char*>(&other), sizeof other);
  if (!put(fd_.get(), text, begin_of(other)) || !put(fd_.get(), number, 0))
    return base::errno_error("write reforkd's history");
  wipe(std::exchange(half_, other), 0);
  used_ = rewritten_ = text.size();
  return {};
}

}  // namespace refork::state
