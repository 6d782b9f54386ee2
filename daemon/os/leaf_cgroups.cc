// Directories in a cgroup tree. Whose they are, and when they end, is decided elsewhere.
#include "os/leaf_cgroups.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"

namespace refork::os {
namespace {

namespace fs = std::filesystem;

constexpr mode_t directory_mode = 0755;

// As the manager of the tree marks what it leaves to others; the first for everybody to read, the second for
// root.
bool is_delegated(const std::string& directory) {
  for (const char* name : {"user.delegate", "trusted.delegate"}) {
    char value = 0;
    if (::getxattr(directory.c_str(), name, &value, sizeof value) == 1 && value == '1') return true;
  }
  return false;
}

base::Result<void> write(const std::string& file, const std::string& text) {
  const base::UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return base::errno_error("open " + file);
  if (::write(fd.get(), text.data(), text.size()) < 0) return base::errno_error("write " + file);
  return {};
}

bool populated(const std::string& directory) {
  std::ifstream events(directory + "/cgroup.events");
  std::string key;
  for (int value = 0; events >> key >> value;)
    if (key == "populated") return value != 0;
  return false;
}

std::vector<fs::path> directories_in(const fs::path& directory) {
  std::vector<fs::path> all;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    if (std::error_code gone; entry->is_directory(gone)) all.push_back(entry->path());
  return all;
}

std::vector<pid_t> processes_in(const std::string& directory) {
  std::vector<pid_t> all;
  std::ifstream processes(directory + "/cgroup.procs");
  for (pid_t pid = 0; processes >> pid;)
    if (pid > 1) all.push_back(pid);
  return all;
}

void signal_each(const std::string& directory, int signal) {
  for (const pid_t pid : processes_in(directory)) ::kill(pid, signal);
  for (const auto& below : directories_in(directory)) signal_each(below, signal);
}

// What its processes have made below it goes first.
bool remove_tree(const std::string& directory) {
  if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
  for (const auto& below : directories_in(directory))
    if (!remove_tree(below)) return false;
  return ::rmdir(directory.c_str()) == 0 || errno == ENOENT;
}

}  // namespace

std::optional<LeafCgroups> LeafCgroups::in(const std::string& directory) {
  return is_delegated(directory) ? in_delegated(directory) : std::nullopt;
}

std::optional<LeafCgroups> LeafCgroups::in_delegated(const std::string& directory) {
  if (directory.empty()) return std::nullopt;
  if (::access(directory.c_str(), W_OK) != 0 || ::access((directory + "/cgroup.procs").c_str(), W_OK) != 0)
    return std::nullopt;
  return LeafCgroups(directory);
}

base::Result<void> LeafCgroups::put(const std::string& leaf, pid_t pid) const {
  const std::string path = directory_ + "/" + leaf;
  if (::mkdir(path.c_str(), directory_mode) != 0 && errno != EEXIST)
    return base::errno_error("mkdir " + path);
  auto written = write(path + "/cgroup.procs", std::to_string(pid));
  if (!written) ::rmdir(path.c_str());
  return written;
}

std::vector<std::string> LeafCgroups::list() const {
  std::vector<std::string> names;
  for (const auto& path : directories_in(directory_)) names.push_back(path.filename());
  return names;
}

bool LeafCgroups::has_processes(const std::string& leaf) const { return populated(directory_ + "/" + leaf); }

void LeafCgroups::signal(const std::string& leaf, int signal) const {
  signal_each(directory_ + "/" + leaf, signal);
}

std::vector<pid_t> LeafCgroups::processes() const { return processes_in(directory_); }

bool LeafCgroups::end(const std::string& leaf) const {
  const std::string path = directory_ + "/" + leaf;
  // Kernels before 5.14 have no cgroup.kill. A fork may escape one round then, but not all of them.
  if (populated(path) && !write(path + "/cgroup.kill", "1")) signal_each(path, SIGKILL);
  return remove_tree(path);
}

}  // namespace refork::os
