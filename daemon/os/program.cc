// What a worker is started from: the file that a command names, and the user it runs as. Looked up before the
// fork.
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "os/spawn.h"

namespace refork::os {
namespace {

constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t first_buffer_size = 1024, largest_buffer_size = 1 << 20;  // of a passwd entry

// 0: a file that can be executed; otherwise the errno that execve would give.
int check_program(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return errno;
  if (!S_ISREG(status.st_mode)) return EACCES;
  return ::faccessat(AT_FDCWD, file.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

// The child changes directory before it executes, so a relative path must not survive.
std::string absolute(const std::string& file) {
  std::error_code ignored;
  const auto path = std::filesystem::absolute(file, ignored);
  return ignored ? file : path.string();
}

base::Error program_error(const std::string& command, int code) {
  const char* reason = code == ENOENT   ? ": command not found"
                       : code == EACCES ? ": not a file that can be executed"
                                        : ": cannot be started";
  return base::errno_error(command + reason, code);
}

}  // namespace

base::Result<std::string> find_program(const std::string& command, const std::string& path) {
  if (command.empty()) return base::Error{ENOENT, "the command is empty, expected a program"};
  if (command.find('/') != std::string::npos) {
    const int code = check_program(command);
    if (code != 0) return program_error(command, code);
    return absolute(command);
  }
  const char* own = std::getenv("PATH");
  const std::string directories = !path.empty() ? path : own ? own : default_path;
  int worst =
      ENOENT;  // as a shell: a file without permission is only reported if no later directory has a good one
  for (std::size_t from = 0; from <= directories.size();) {
    const std::size_t to = std::min(directories.find(':', from), directories.size());
    const std::string directory = directories.substr(from, to - from);
    const std::string file = (directory.empty() ? "." : directory) + "/" + command;
    const int code = check_program(file);
    if (code == 0) return absolute(file);
    if (code == EACCES) worst = EACCES;
    from = to + 1;
  }
  if (worst == ENOENT)
    return base::Error{ENOENT,
                       command + ": command not found in " + directories + ": " + std::strerror(ENOENT)};
  return program_error(command, worst);
}

base::Result<Credentials> find_user(const std::string& name) {
  passwd entry{};
  passwd* found = nullptr;
  std::vector<char> buffer(first_buffer_size);
  int code;
  while ((code = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found)) == ERANGE &&
         buffer.size() < largest_buffer_size)
    buffer.resize(buffer.size() * 2);
  if (!found) {
    if (code != 0 && code != ENOENT) return base::errno_error("user " + name, code);
    return base::Error{ENOENT, "user " + name + " does not exist"};
  }
  if (::geteuid() != 0 && entry.pw_uid != ::geteuid())
    return base::Error{EPERM, "user " + name + ": only root can start workers as another user"};
  Credentials who{entry.pw_uid, entry.pw_gid, {}, entry.pw_name, entry.pw_dir};
  int count = 32;
  who.groups.resize(static_cast<std::size_t>(count));
  while (::getgrouplist(entry.pw_name, who.gid, who.groups.data(), &count) < 0)
    who.groups.resize(static_cast<std::size_t>(count));
  who.groups.resize(static_cast<std::size_t>(count));
  return who;
}

}  // namespace refork::os
