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

#include "os/file.h"

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

// As asked, whatever the umask takes away; of the one that was made, should somebody have moved it away.
base::Result<void> set_mode(const Place& place, const std::string& path, unsigned mode) {
  const base::UniqueFd made(
      ::openat(place.directory.get(), place.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!made || ::fstat(made.get(), &status) != 0 || status.st_uid != ::geteuid())
    return base::Error{EPERM, path + ": somebody put something else in the place of this directory"};
  if (::fchmod(made.get(), mode) != 0) return base::errno_error("set the mode of directory " + path);
  return {};
}

base::Result<void> make_one(const std::string& path, unsigned mode) {
  const auto place = find_place(path);
  if (!place) return place.error();
  if (::mkdirat(place->directory.get(), place->name.c_str(), mode) == 0) return set_mode(*place, path, mode);
  const int code = errno;
  if (const auto there = find_place(path + "/."); there)
    return {};
  else if (there.error().code == ELOOP)
    return there.error();
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0)
    return base::Error{ENOTDIR, path + ": expected a directory, there is a file of this name"};
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
  return ::fstat(fd, &held) == 0 && ::lstat(path.c_str(), &there) == 0 && held.st_ino == there.st_ino &&
         held.st_dev == there.st_dev;
}

// Who can write to it could put something else in the place of what reforkd keeps there.
base::Result<void> check_directory(const std::string& path, Others others) {
  const auto place = find_place(path + "/.");
  if (!place) return place.error();
  struct stat status {};
  if (::fstat(place->directory.get(), &status) != 0) return base::errno_error("look at directory " + path);
  if (others == Others::may_add ? is_ours(status) : !is_open_to_others(status)) return {};
  return base::Error{EPERM,
                     "directory " + path +
                         ": others can write to it; expected one of root or of this user, writable for "
                         "nobody else"};
}

}  // namespace

std::string default_control() {
  if (std::string own = variable("REFORK_CONTROL"); !own.empty()) return own;
  if (is_root()) return "/run/refork/control";
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  return (runtime.empty() ? "/run/user/" + std::to_string(::geteuid()) : runtime) + "/refork/control";
}

std::string default_state_dir() { return is_root() ? "/var/lib/refork" : home() + "/.local/state/refork"; }

base::Result<void> make_directory(const std::string& path, unsigned mode, Others others) {
  if (path.empty()) return base::Error{ENOENT, "the path of a directory is empty"};
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (path.find_first_not_of('/', slash) == std::string::npos) break;
    if (auto made = make_one(path.substr(0, slash), parent_mode); !made) return made;
  }
  if (auto made = make_one(path, mode); !made) return made;
  if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK | X_OK, AT_EACCESS) != 0)
    return base::errno_error("directory " + path + " must be readable and writable for this user");
  return check_directory(path, others);
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
    base::UniqueFd lock(
        ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, lock_mode));
    struct stat found {};
    if (!lock || ::fstat(lock.get(), &found) != 0) return base::errno_error("open " + file);
    if (!S_ISREG(found.st_mode) || found.st_uid != ::geteuid())
      return base::Error{EPERM, file + ": expected a plain file of this user; remove what is there"};
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return base::errno_error("lock " + file);
      return base::Error{EBUSY, "another reforkd (pid " + read_holder(lock.get()) + ") runs here: " + path};
    }
    if (!is_still_at(lock.get(), file)) continue;
    // Whatever else it is under its second name is not for a pid to be written to.
    if (found.st_nlink > 1) {
      if (::unlink(file.c_str()) != 0) return base::errno_error("remove " + file);
      continue;
    }
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0)
      return base::errno_error("write " + file);
    return lock;
  }
  return base::Error{EBUSY, "lock " + file + ": the file is removed again and again"};
}

}  // namespace refork::os
