// What is done to refork.db as a file, before SQLite opens it and after it has given up on it: a few system
// calls, no SQL.
#include "store/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string_view>

#include "base/unique_fd.h"

namespace refork::store {
namespace {

constexpr mode_t directory_mode = 0700, file_mode = 0600;
constexpr int max_set_aside = 100;  // names tried for files set aside within one second

// The database header: 16 bytes of magic, user_version at byte 60, big-endian
// (sqlite.org/fileformat2.html, 1.3).
constexpr std::string_view magic{"SQLite format 3\0", 16};
constexpr std::size_t version_at = 60, header_size = 64;

std::uint32_t version_in_header(int fd) {
  std::array<unsigned char, header_size> header{};
  if (::pread(fd, header.data(), header.size(), 0) != static_cast<ssize_t>(header.size())) return 0;
  if (std::string_view(reinterpret_cast<const char*>(header.data()), magic.size()) != magic) return 0;
  std::uint32_t version = 0;
  for (std::size_t i = version_at; i < version_at + 4; ++i) version = version << 8 | header[i];
  return version;
}

// A read-only file is opened as that: what it holds can still be shown.
base::UniqueFd open_file(const std::string& path) {
  constexpr int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
  base::UniqueFd file(::open(path.c_str(), flags | O_RDWR | O_CREAT, file_mode));
  if (!file && (errno == EACCES || errno == EROFS || errno == EPERM || errno == ENOSPC))
    file.reset(::open(path.c_str(), flags | O_RDONLY));
  return file;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  return std::string(text.data(), std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts));
}

// What SQLite opens beside the database by itself, and would follow a symbolic link for.
base::Result<void> check_companions(const std::string& path) {
  for (const char* suffix : {"-wal", "-shm", "-journal"}) {
    struct stat found {};
    if (::lstat((path + suffix).c_str(), &found) != 0) continue;
    if (!S_ISREG(found.st_mode))
      return base::Error{EINVAL, path + suffix + " is not a plain file, as was expected"};
    if (found.st_uid != ::geteuid())
      return base::Error{EPERM,
                         path + suffix + " belongs to another user; expected a file of the user of reforkd"};
  }
  return {};
}

bool exists(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

}  // namespace

base::Result<std::string> database_path(const std::string& state_dir) {
  if (::mkdir(state_dir.c_str(), directory_mode) != 0 && errno != EEXIST)
    return base::errno_error("make the state directory " + state_dir);
  struct stat found {};
  if (::stat(state_dir.c_str(), &found) != 0)
    return base::errno_error("look at the state directory " + state_dir);
  if (!S_ISDIR(found.st_mode)) return base::errno_error("use the state directory " + state_dir, ENOTDIR);
  if ((found.st_uid != ::geteuid() && found.st_uid != 0) || (found.st_mode & S_IWOTH) != 0 ||
      ((found.st_mode & S_IWGRP) != 0 && found.st_gid != ::getegid()))
    return base::Error{EPERM, "the state directory " + state_dir +
                                  " is writable by others; expected one that belongs to the user of reforkd "
                                  "and that nobody else can write to"};
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(state_dir.c_str(), nullptr), &std::free);
  if (!real) return base::errno_error("resolve the state directory " + state_dir);
  return std::string(real.get()) + "/refork.db";
}

base::Result<std::uint32_t> prepare_file(const std::string& path) {
  const base::UniqueFd file = open_file(path);
  if (!file && errno == ELOOP)
    return base::Error{ELOOP, path + " is a symbolic link, which is not followed; expected a plain file"};
  if (!file) return base::errno_error("open " + path);
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return base::errno_error("look at " + path);
  if (!S_ISREG(found.st_mode)) return base::Error{EINVAL, path + " is not a plain file, as was expected"};
  if (found.st_uid != ::geteuid())
    return base::Error{EPERM, path + " belongs to another user; expected a file of the user of reforkd"};
  if ((found.st_mode & 07777 & ~file_mode) != 0 && ::fchmod(file.get(), found.st_mode & file_mode) != 0 &&
      errno != EROFS)
    return base::errno_error("set the mode of " + path);
  if (const auto checked = check_companions(path); !checked) return checked.error();
  return version_in_header(file.get());
}

base::Result<std::string> set_aside(const std::string& path) {
  const std::string stem = path + ".corrupt-" + utc_now();
  std::string name = stem;
  for (int i = 2; exists(name) && i <= max_set_aside; ++i) name = stem + "-" + std::to_string(i);
  if (exists(name)) return base::Error{EEXIST, "find a name for the corrupt " + path + ": all are taken"};
  // The database goes last: an old log must never be found beside a new database, whatever happens in
  // between.
  for (const char* suffix : {"-wal", "-shm", ""})
    if (::rename((path + suffix).c_str(), (name + suffix).c_str()) != 0 && errno != ENOENT)
      return base::errno_error("set aside the corrupt " + path + suffix);
  return name;
}

}  // namespace refork::store
