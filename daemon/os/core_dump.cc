// Core dumps, as the kernel tells and limits them. What crashed, and why, is none of its business.
#include "os/core_dump.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>

namespace refork::os {
namespace {

// core(5): too little for a file, and the one value that also stops a dump into a pipe.
constexpr rlim_t no_dump = 1;

rlim_t usual_limit(const std::optional<core::Limit>& usual) {
  if (usual) return usual->value ? static_cast<rlim_t>(*usual->value) : RLIM_INFINITY;
  rlimit own{};
  return ::getrlimit(RLIMIT_CORE, &own) == 0 ? own.rlim_cur : RLIM_INFINITY;
}

std::string first_line(const char* file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

// The real id of "Uid:\t0\t0\t0\t0".
void read_id(const std::string& line, std::string_view key, std::uint32_t& id) {
  if (line.starts_with(key)) std::from_chars(line.data() + key.size(), line.data() + line.size(), id);
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "";
}

// What a specifier stands for. Nothing: this process cannot know it.
std::optional<std::string> value_of(char specifier, const CoreTraits& traits, int signal) {
  switch (specifier) {
    case '%':
      return "%";
    case 'p':
    case 'P':
      return std::to_string(traits.pid);
    case 'u':
      return std::to_string(traits.uid);
    case 'g':
      return std::to_string(traits.gid);
    case 's':
      return std::to_string(signal);
    case 'e':
      return traits.name;
    case 'h':
      return host_name();
    default:
      return std::nullopt;
  }
}

}  // namespace

CoreTraits core_traits(pid_t pid, const std::string& directory) {
  CoreTraits traits;
  traits.pid = pid;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  constexpr std::string_view name = "Name:\t", uid = "Uid:\t", gid = "Gid:\t";
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name)) traits.name = line.substr(name.size());
    read_id(line, uid, traits.uid);
    read_id(line, gid, traits.gid);
  }
  std::error_code error;
  traits.directory = directory.empty() ? std::filesystem::current_path(error).string() : directory;
  return traits;
}

std::string core_place(std::string_view pattern, bool uses_pid, const CoreTraits& traits, int signal) {
  if (pattern.starts_with('|'))
    return pattern.find("systemd-coredump") == pattern.npos
               ? ""
               : "coredumpctl info " + std::to_string(traits.pid);
  std::string path;
  bool has_pid = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%') {
      path += pattern[i];
      continue;
    }
    if (++i == pattern.size()) break;  // the kernel drops it
    const auto value = value_of(pattern[i], traits, signal);
    if (!value) return "";
    has_pid |= pattern[i] == 'p';
    path += *value;
  }
  if (path.empty()) return "";
  if (uses_pid && !has_pid) path += "." + std::to_string(traits.pid);
  return path.starts_with('/') ? path : traits.directory + "/" + path;
}

std::string find_core(const CoreTraits& traits, int signal) {
  const std::string pattern = first_line("/proc/sys/kernel/core_pattern");
  const std::string place =
      core_place(pattern, first_line("/proc/sys/kernel/core_uses_pid") == "1", traits, signal);
  struct stat status {};
  const bool is_path = place.starts_with('/');
  return is_path && (::stat(place.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) ? "" : place;
}

bool dumps_core(pid_t pid) {
  constexpr std::string_view key = "CoreDumping:";
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key)) return line.find('1', key.size()) != std::string::npos;
  return false;
}

// The hard limit stays, so that it can be taken back.
void allow_core(pid_t pid, bool allowed, const std::optional<core::Limit>& usual) {
  rlimit limit{};
  if (pid <= 0 || ::prlimit(pid, RLIMIT_CORE, nullptr, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, allowed ? usual_limit(usual) : no_dump);
  ::prlimit(pid, RLIMIT_CORE, &limit, nullptr);
}

}  // namespace refork::os
