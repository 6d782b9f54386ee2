// The way to a file, step by step. Others' symbolic links are what makes a privileged process write where it
// should not; second names (hard links) are the other way to do that.
#include "os/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <string_view>
#include <utility>

namespace refork::os {
namespace {

constexpr int most_links = 40;  // as the kernel has it

bool is_trusted(uid_t uid) { return uid == 0 || uid == ::geteuid(); }

base::Result<base::UniqueFd> open_start(const std::string& path) {
  base::UniqueFd start(::open(path.starts_with('/') ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!start) return base::errno_error("open " + path);
  return start;
}

// "a//b/./c" without what says nothing, but for a "." or ".." at the end.
std::string_view skip_slashes(std::string_view rest) {
  return rest.substr(std::min(rest.find_first_not_of('/'), rest.size()));
}

base::Result<std::string> target_of(int link, const std::string& path) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlinkat(link, "", target.data(), target.size());
  if (length <= 0) return base::errno_error("read the symbolic link " + path);
  return std::string(target.data(), static_cast<std::size_t>(length));
}

}  // namespace

bool is_open_to_others(const struct stat& directory) {
  return !is_trusted(directory.st_uid) || (directory.st_mode & S_IWOTH) != 0 ||
         ((directory.st_mode & S_IWGRP) != 0 && directory.st_gid != ::getegid());
}

bool is_ours(const struct stat& directory) {
  return is_trusted(directory.st_uid) &&
         (!is_open_to_others(directory) || (directory.st_mode & S_ISVTX) != 0);
}

base::Result<Place> find_place(const std::string& path) {
  auto start = open_start(path);
  if (!start) return start.error();
  Place place{*std::move(start), "."};
  std::string rest(skip_slashes(path));
  for (int links = 0; !rest.empty();) {
    const std::string name = rest.substr(0, rest.find('/'));
    const bool last = rest.size() == name.size();
    rest = skip_slashes(std::string_view(rest).substr(name.size()));
    if (last) {
      place.name = name;
      break;
    }
    base::UniqueFd next(::openat(place.directory.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!next || ::fstat(next.get(), &status) != 0) return base::errno_error("open " + path);
    if (S_ISDIR(status.st_mode)) {
      place.directory = std::move(next);
      continue;
    }
    if (!S_ISLNK(status.st_mode)) return base::errno_error("open " + path, ENOTDIR);
    if (!is_trusted(status.st_uid) || ++links > most_links)
      return base::Error{ELOOP, path + ": " + name + " is a symbolic link of user " +
                                    std::to_string(status.st_uid) +
                                    ", which is not followed; expected one of root or of this user"};
    const auto target = target_of(next.get(), path);
    if (!target) return target.error();
    if (target->starts_with('/')) {
      auto again = open_start(*target);
      if (!again) return again.error();
      place.directory = *std::move(again);
    }
    rest = std::string(skip_slashes(*target)) + "/" + rest;
  }
  return place;
}

base::Result<base::UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  auto place = find_place(path);
  if (!place) return place.error();
  base::UniqueFd file(::openat(place->directory.get(), place->name.c_str(),
                               flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, mode));
  if (!file && errno == ELOOP)
    return base::Error{ELOOP, path + " is a symbolic link, which is not followed; expected a file"};
  struct stat found {
  }, around{};
  if (!file || ::fstat(file.get(), &found) != 0 || ::fstat(place->directory.get(), &around) != 0)
    return base::errno_error("open " + path);
  if (!S_ISREG(found.st_mode) || !is_open_to_others(around)) return file;
  if (found.st_nlink > 1)
    return base::Error{EMLINK, path +
                                   " has a second name (a hard link), and others can write to its "
                                   "directory; expected a file of one name"};
  if (!is_trusted(found.st_uid) && found.st_uid != around.st_uid)
    return base::Error{EPERM, path + " belongs to user " + std::to_string(found.st_uid) +
                                  ", and others can write to its directory; expected a file of root, of this "
                                  "user or of the directory's"};
  return file;
}

}  // namespace refork::os
