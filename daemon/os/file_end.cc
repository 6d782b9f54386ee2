// The end of a file that others write to.
#include "os/file_end.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "os/file.h"

namespace refork::os {

std::string read_end(const std::string& path, std::uint64_t from, std::size_t most, std::uint64_t to) {
  const auto fd = open_file(path, O_RDONLY);
  struct stat status {};
  if (!fd || ::fstat(fd->get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  auto size = static_cast<std::uint64_t>(status.st_size);
  if (from > size) from = 0;
  size = std::max(from, std::min(size, to));
  from = std::max(from, size - std::min<std::uint64_t>(size, most));
  std::string text(size - from, '\0');
  const auto got = ::pread(fd->get(), text.data(), text.size(), static_cast<off_t>(from));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

std::optional<std::uint64_t> file_size(const std::string& path) {
  const auto place = path.empty() ? base::Error{ENOENT, ""} : find_place(path);
  struct stat status {};
  if (!place || ::fstatat(place->directory.get(), place->name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISREG(status.st_mode))
    return std::nullopt;
  return static_cast<std::uint64_t>(status.st_size);
}

}  // namespace refork::os
