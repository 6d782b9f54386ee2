// The end of a log file, and what is appended to it.
#include "ctl/log_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

namespace refork::ctl {

namespace {

constexpr std::size_t chunk = 64 * 1024;     // bytes read at a time
constexpr std::size_t longest_line = chunk;  // shown at a time, whether it has its end or not
constexpr int look_again_ms = 1000;          // where the kernel does not tell of changes

// Where the last `count` lines begin.
base::Result<std::uint64_t> find_last(int fd, std::uint64_t size, std::uint64_t count) {
  std::string buffer(chunk, '\0');
  std::uint64_t ends = 0, end = size;
  while (end > 0) {
    const std::uint64_t from = end - std::min<std::uint64_t>(end, chunk);
    const ssize_t got =
        ::pread(fd, buffer.data(), static_cast<std::size_t>(end - from), static_cast<off_t>(from));
    if (got < 0) return base::errno_error("read the log");
    for (std::uint64_t i = static_cast<std::uint64_t>(got); i > 0; --i) {
      if (buffer[static_cast<std::size_t>(i - 1)] != '\n' || from + i == size) continue;
      if (++ends == count) return from + i;
    }
    end = from;
  }
  return 0;
}

}  // namespace

// A directory tells of the file that takes the place of one that was put aside; not everybody who may read
// the file may read it.
LogFile::LogFile(std::string path, base::UniqueFd fd)
    : path_(std::move(path)), fd_(std::move(fd)), changes_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  const auto parent = std::filesystem::path(path_).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();
  const std::string file = "/proc/self/fd/" + std::to_string(fd_.get());
  if (::inotify_add_watch(changes_.get(), directory.c_str(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
      ::inotify_add_watch(changes_.get(), file.c_str(), IN_MODIFY) < 0)
    poll_ms_ = look_again_ms;
}

void LogFile::wait() {
  pollfd changed{changes_.get(), POLLIN, 0};
  ::poll(&changed, 1, poll_ms_);
  std::array<char, chunk> told;
  while (::read(changes_.get(), told.data(), told.size()) > 0) {
  }
}

base::Result<LogFile> LogFile::open(const std::string& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) return base::errno_error("read the log " + path);
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return base::errno_error("read the log " + path);
  if (!S_ISREG(status.st_mode)) return base::Error{EINVAL, "the log " + path + " is no regular file"};
  return LogFile(path, std::move(fd));
}

base::Result<void> LogFile::show_last(std::uint64_t count, const Show& show) {
  struct stat status {};
  if (::fstat(fd_.get(), &status) < 0) return base::errno_error("read the log " + path_);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const auto begin = count == 0 ? base::Result<std::uint64_t>(size) : find_last(fd_.get(), size, count);
  if (!begin) return begin.error();
  at_ = *begin;
  return read_on(show);
}

base::Result<void> LogFile::read_on(const Show& show) {
  std::string buffer(chunk, '\0');
  for (;;) {
    const ssize_t got = ::pread(fd_.get(), buffer.data(), buffer.size(), static_cast<off_t>(at_));
    if (got < 0) return base::errno_error("read the log " + path_);
    if (got == 0) return {};
    at_ += static_cast<std::uint64_t>(got);
    rest_.append(buffer, 0, static_cast<std::size_t>(got));
    std::size_t begin = 0;
    for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin = end + 1))
      show(std::string_view(rest_).substr(begin, end - begin));
    rest_.erase(0, begin);
    if (rest_.size() >= longest_line) show(std::exchange(rest_, ""));
  }
}

bool LogFile::was_replaced() const {
  struct stat now {
  }, ours{};
  if (::stat(path_.c_str(), &now) < 0 || ::fstat(fd_.get(), &ours) < 0) return false;
  return now.st_ino != ours.st_ino || now.st_dev != ours.st_dev;
}

base::Result<void> LogFile::show_new(const Show& show) {
  struct stat status {};
  if (::fstat(fd_.get(), &status) == 0 && static_cast<std::uint64_t>(status.st_size) < at_) {
    at_ = 0;  // somebody has emptied it
    rest_.clear();
  }
  const bool replaced = was_replaced();
  if (auto read = read_on(show); !read || !replaced) return read;
  auto next = open(path_);
  if (!next) {
    poll_ms_ = look_again_ms;  // whoever puts it there has not given it its owner yet
    return {};
  }
  *this = std::move(*next);
  return read_on(show);
}

}  // namespace refork::ctl
