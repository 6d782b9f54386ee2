// Processes by pidfd: their end (read in this one place), signals, and what /proc tells. It starts none and
// decides nothing.
#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

namespace refork::os {
namespace {

constexpr int start_time_field = 22;  // of /proc/PID/stat, proc(5)

std::optional<rlimit> inherited_limit;  // of descriptors, before it was raised

ExitStatus decode(const siginfo_t& info) {
  ExitStatus status;
  if (info.si_code == CLD_EXITED)
    status.code = info.si_status;
  else
    status.signal = info.si_status;
  status.core = info.si_code == CLD_DUMPED;
  return status;
}

bool has_ended(int pidfd) {
  pollfd poll{pidfd, POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

std::string read_proc(pid_t pid, const char* file) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/" + file);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// The field with this number, the first being 1; 0 if it is not a number.
std::uint64_t field(std::string_view text, int number) {
  while (--number > 0) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return 0;
    text.remove_prefix(space + 1);
  }
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool contains(const std::vector<pid_t>& known, pid_t pid) {
  return std::find(known.begin(), known.end(), pid) != known.end();
}

// By the list of children: for when an ended known process stands first in the kernel's queue and hides the
// others.
void reap_listed_strangers(const std::vector<pid_t>& known) {
  std::error_code error;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task", error)) {
    std::ifstream children(thread.path() / "children");
    for (pid_t pid; children >> pid;) {
      siginfo_t info{};
      if (!contains(known, pid)) ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG);
    }
  }
}

}  // namespace

std::optional<ExitStatus> reap(int pidfd) {
  siginfo_t info{};
  int result;
  do result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG);
  while (result != 0 && errno == EINTR);
  if (result == 0) return info.si_pid == 0 ? std::nullopt : std::optional(decode(info));
  if (!has_ended(pidfd)) return std::nullopt;
  return ExitStatus{};
}

bool has_ended_by(int pidfd, int signal) {
  siginfo_t info{};
  const int found = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG | WNOWAIT);
  return found == 0 && info.si_pid != 0 && decode(info).signal == signal;
}

void reap_strangers(const std::vector<pid_t>& known) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    if (contains(known, info.si_pid)) return reap_listed_strangers(known);
    ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
  }
}

base::Result<base::UniqueFd> open_pidfd(pid_t pid) {
  // As a system call: the library's <sys/pidfd.h> cannot be linked from C++ everywhere.
  base::UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return base::errno_error("pidfd of process " + std::to_string(pid));
  return fd;
}

void signal_process(int pidfd, int signal) { ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

void signal_group(pid_t pgid, int signal) {
  if (pgid > 1) ::killpg(pgid, signal);  // 0 would be our own group, 1 the system's
}

std::uint64_t rss_bytes(pid_t pid) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return field(read_proc(pid, "statm"), 2) * page;
}

std::uint64_t start_time(pid_t pid) {
  const std::string text = read_proc(pid, "stat");
  const std::size_t name_end = text.rfind(')');  // the name, field 2, may hold spaces and brackets of its own
  if (name_end == std::string::npos) return 0;
  return field(std::string_view(text).substr(name_end), start_time_field - 1);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) inherited_limit = limit;
}

std::optional<rlimit> inherited_descriptor_limit() { return inherited_limit; }

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

}  // namespace refork::os
