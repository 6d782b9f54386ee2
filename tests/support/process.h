#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace refork::test {

// Real programs take their time under sanitizers on a busy machine; a deadline only bounds a failing test.
inline constexpr std::chrono::seconds kProcessPatience{20};

// How a process ended.
struct Exit {
  int code = -1;   // -1: by a signal
  int signal = 0;  // 0: by itself
  bool core = false;
};

// A program started by a test, with its output captured; killed with its process group when it goes out of
// scope.
class Process {
 public:
  struct Options {
    std::vector<std::string> argv;         // argv[0] is a path, or searched in $PATH
    std::vector<std::string> environment;  // "NAME=value", added to the test's own
    std::vector<int> listeners;            // passed on as LISTEN_FDS, from 3 upwards
    std::vector<std::string> listener_names;
    std::vector<std::pair<int, int>> fds;  // {ours, the child's number}
    std::string directory;
  };

  // Throws std::runtime_error where the process cannot be made; a program that cannot be executed exits with
  // 127.
  explicit Process(Options options);
  Process(Process&& other) noexcept;
  Process& operator=(Process&&) = delete;
  ~Process();

  pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  // Everything written so far; never blocks the program, however little is read.
  std::string output() const;  // standard output
  std::string errors() const;  // standard error
  // The first line of standard output (standard error) that contains `part`, once there is one.
  std::optional<std::string> wait_for_line(std::string_view part,
                                           std::chrono::milliseconds patience = kProcessPatience) const;
  std::optional<std::string> wait_for_error_line(std::string_view part,
                                                 std::chrono::milliseconds patience = kProcessPatience) const;
  bool running();
  std::optional<Exit> wait(std::chrono::milliseconds patience = kProcessPatience);

 private:
  std::optional<std::string> wait_for_line_in(const base::UniqueFd& file, std::string_view part,
                                              std::chrono::milliseconds patience) const;

  pid_t pid_ = -1;
  base::UniqueFd pidfd_;
  base::UniqueFd output_;
  base::UniqueFd errors_;
  std::optional<Exit> exit_;
};

// An own directory under $TMPDIR, removed with everything in it.
class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  const std::filesystem::path& path() const noexcept { return path_; }
  std::string file(std::string_view name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Asks until the answer is yes or the patience is used up; returns the last answer.
bool wait_until(const std::function<bool()>& predicate,
                std::chrono::milliseconds patience = kProcessPatience);

// A program of this build: "reforkd", "examples/http_asio", "bench/load".
std::string built_program(std::string_view name);

}  // namespace refork::test
