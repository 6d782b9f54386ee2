// Reading by pread(2) at offsets and lengths of our own, so that neither a truncated file nor a lying one
// does more than give less.

#include "recorder/untrusted.h"

#include <time.h>
#include <unistd.h>

#include <cerrno>

namespace refork::recorder {

std::size_t read_at(int fd, void* into, std::size_t size, std::size_t offset) noexcept {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        ::pread(fd, static_cast<char*>(into) + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

base::Result<void> write_at(int fd, const void* from, std::size_t size, std::size_t offset) {
  ssize_t put;
  do {
    put = ::pwrite(fd, from, size, static_cast<off_t>(offset));
  } while (put < 0 && errno == EINTR);
  if (put == static_cast<ssize_t>(size)) return {};
  return put < 0 ? base::errno_error("write to the flight recorder")
                 : base::Error{ENOSPC, "write to the flight recorder: it took only a part"};
}

base::Result<Copy<Header>> read_header(int fd) {
  Copy<Header> header;
  if (read_at(fd, &header, sizeof header, 0) != sizeof header)
    return base::Error{EPROTO, "the flight recorder was truncated"};
  return header;
}

std::uint64_t now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

std::uint64_t age_ms(std::uint64_t start_ns, std::uint64_t now_ns) noexcept {
  return now_ns > start_ns ? (now_ns - start_ns) / 1'000'000u : 0;
}

}  // namespace refork::recorder
