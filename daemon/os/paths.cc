// Where reforkd keeps things, and who may: directories, and the lock of the one instance.
#include "os/paths.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string_view>

namespace refork::os {
namespace {

constexpr unsigned parent_mode = 0755, lock_mode = 0600;
constexpr int lock_attempts = 16;  // each lost to somebody who removed the file just then

bool is_root() { return ::geteuid() == 0; }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::string home() {
  if (std::string own = variable("HOME"); !own.empty()) return own;
  const passwd* entry = ::getpwuid(::geteuid());
  return entry ? entry->pw_dir : "/";
}

base::Result<void> make_one(const std::string& path, unsigned mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    // As asked, whatever the umask takes away.
    if (::chmod(path.c_str(), mode) != 0) return base::errno_error("set the mode of directory " + path);
    return {};
  }
  const int code = errno;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return {};
    return base::Error{ENOTDIR, path + ": expected a directory, there is a file of this name"};
  }
  return base::errno_error("make directory " + path, code);
}

std::string read_holder(int fd) {
  char text[16] = {};
  const ssize_t count = ::pread(fd, text, sizeof text - 1, 0);
  const std::string pid(text, count > 0 ? static_cast<std::size_t>(count) : 0);
  const std::size_t end = pid.find_first_not_of("0123456789");
  return end == 0 || pid.empty() ? "unknown" : pid.substr(0, end);
}

// Whoever ends may remove the file; then the lock just taken is on a file that nobody else will find.
bool is_still_at(int fd, const std::string& path) {
  struct stat held {
  }, there{};
  return ::fstat(fd, &held) == 0 && ::stat(path.c_str(), &there) == 0 && held.st_ino == there.st_ino &&
         held.st_dev == there.st_dev;
}

}  // namespace

std::string default_control() {
  if (std::string own = variable("REFORK_CONTROL"); !own.empty()) return own;
  if (is_root()) return "/run/refork/control";
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  return (runtime.empty() ? "/run/user/" + std::to_string(::geteuid()) : runtime) + "/refork/control";
}

std::string default_state_dir() { return is_root() ? "/var/lib/refork" : home() + "/.local/state/refork"; }

base::Result<void> make_directory(const std::string& path, unsigned mode) {
  if (path.empty()) return base::Error{ENOENT, "the path of a directory is empty"};
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (path.find_first_not_of('/', slash) == std::string::npos) break;
    if (auto made = make_one(path.substr(0, slash), parent_mode); !made) return made;
  }
  if (auto made = make_one(path, mode); !made) return made;
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) != 0)
    return base::errno_error("directory " + path + " must be readable and writable for this user");
  return {};
}

void remove_lock(const std::string& path) noexcept { ::unlink((path + ".lock").c_str()); }

std::string file_identity(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return "";
  char text[64];
  std::snprintf(text, sizeof text, "%jx-%jx", static_cast<std::uintmax_t>(status.st_dev),
                static_cast<std::uintmax_t>(status.st_ino));
  return text;
}

base::Result<base::UniqueFd> lock_instance(const std::string& path) {
  const std::string file = path + ".lock";
  for (int attempt = 0; attempt < lock_attempts; ++attempt) {
    base::UniqueFd lock(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, lock_mode));
    if (!lock) return base::errno_error("open " + file);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return base::errno_error("lock " + file);
      return base::Error{EBUSY, "another reforkd (pid " + read_holder(lock.get()) + ") runs here: " + path};
    }
    if (!is_still_at(lock.get(), file)) continue;
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0)
      return base::errno_error("write " + file);
    return lock;
  }
  return base::Error{EBUSY, "lock " + file + ": the file is removed again and again"};
}

}  // namespace refork::os
