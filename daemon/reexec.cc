// The same process, the program anew: what reforkd was executed as, and how it executes itself.
#include "reexec.h"

#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "command_line.h"
#include "keeper/keeper.h"

namespace refork {

namespace {

constexpr int first_passed = 3;  // SD_LISTEN_FDS_START
constexpr const char* keeper_option = "--keeper";
constexpr std::size_t mistakes_told = 3;  // in one line

std::string own_path() {
  const auto name = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));  // NOLINT: the kernel's type
  std::error_code error;
  if (name) {
    auto path = std::filesystem::absolute(name, error);
    if (!error && ::access(path.c_str(), X_OK) == 0 && !path.native().starts_with("/proc/") &&
        !path.native().starts_with("/dev/"))
      return path;
  }
  return std::filesystem::read_symlink("/proc/self/exe", error);
}

std::string in_one_line(const std::vector<config::Problem>& problems) {
  std::string text = "the configuration has " + std::to_string(problems.size()) +
                     (problems.size() == 1 ? " mistake: " : " mistakes: ");
  const std::size_t told = std::min(problems.size(), mistakes_told);
  for (std::size_t i = 0; i < told; ++i) text += (i > 0 ? "; " : "") + problems[i].text();
  return told == problems.size() ? text : text + "; ... `reforkctl check-config` shows all of them";
}

}  // namespace

Program::Program(int argc, char** given) : argv(given, given + argc), path(own_path()) {}

std::vector<std::string> Program::keeper_argv() const {
  auto shown = argv;
  if (shown.size() < 2 || shown[1] != keeper_option) shown.insert(shown.begin() + 1, keeper_option);
  return shown;
}

base::Result<core::DaemonConfig> Program::check() const {
  if (::access(path.c_str(), X_OK) != 0) return base::errno_error("execute " + path);
  std::vector<char*> pointers;
  for (const auto& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  int code = 0;
  auto line = parse_command_line(static_cast<int>(argv.size()), pointers.data(), code);
  if (!line) return base::Error{EINVAL, "the command line is not understood any more"};
  if (line->config.ok()) return std::move(line->config.config);
  return base::Error{EINVAL, in_one_line(line->config.problems)};
}

base::Error Program::execute(const os::FdStore& fds, const supervisor::KeeperWatch& keeper) const {
  // First out of the way of the numbers they are to have; the copies go with the execution.
  auto passed = fds.kept();
  if (fds.sender() >= 0) passed[keeper::store_name] = fds.sender();
  const int above = first_passed + static_cast<int>(passed.size());
  std::vector<int> lifted;
  std::string names;
  for (const auto& [name, fd] : passed) {
    lifted.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, above));
    if (lifted.back() < 0) return base::errno_error("pass on the descriptor " + name);
    names += (names.empty() ? "" : ":") + name;
  }
  for (std::size_t i = 0; i < lifted.size(); ++i) ::dup2(lifted[i], first_passed + static_cast<int>(i));
  ::setenv("LISTEN_FDS", std::to_string(lifted.size()).c_str(), 1);
  ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
  ::setenv(executed_variable, "1", 1);
  if (keeper.wanted()) ::setenv(keeper::variable, keeper.identity().c_str(), 1);
  std::vector<char*> pointers;
  for (const auto& argument : argv) pointers.push_back(const_cast<char*>(argument.c_str()));
  pointers.push_back(nullptr);
  ::execv(path.c_str(), pointers.data());
  return base::errno_error("execute " + path);
}

}  // namespace refork
