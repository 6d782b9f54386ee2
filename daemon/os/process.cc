// Processes by pidfd: their end (read in this one place), signals, and what /proc tells. It starts none and
// decides nothing.
#include "os/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

namespace refork::os {
namespace {

constexpr int start_time_field = 22;  // of /proc/PID/stat, proc(5)
constexpr int flags_field = 9, exit_code_field = 52;
constexpr std::uint64_t forked_only = 0x40;         // PF_FORKNOEXEC, also of one that has ended
constexpr unsigned signal_process_group = 1U << 2;  // PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9

// struct pidfd_info of Linux 6.13; the exit code came with 6.15.
struct PidfdInfo {
  std::uint64_t mask;
  std::uint64_t cgroup_id;
  std::uint32_t pid, tgid, ppid;
  std::uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  std::int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr std::uint64_t info_exit = 1U << 3;                    // PIDFD_INFO_EXIT
constexpr unsigned long get_info = _IOWR(0xff, 11, PidfdInfo);  // PIDFD_GET_INFO

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

// As wait(2) has it.
ExitStatus decode(int wait_status) {
  ExitStatus status;
  if (WIFEXITED(wait_status))
    status.code = WEXITSTATUS(wait_status);
  else
    status.signal = WTERMSIG(wait_status);
  status.core = status.signal && WCOREDUMP(wait_status);
  return status;
}

std::optional<ExitStatus> wait_for(int pidfd, int flags) {
  siginfo_t info{};
  int result;
  do result = ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG | flags);
  while (result != 0 && errno == EINTR);
  if (result != 0 || info.si_pid == 0) return std::nullopt;
  return decode(info);
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

std::optional<ExitStatus> reap(int pidfd) { return wait_for(pidfd, 0); }
std::optional<ExitStatus> exit_of_child(int pidfd) { return wait_for(pidfd, WNOWAIT); }

bool has_ended(int pidfd) {
  pollfd poll{pidfd, POLLIN, 0};
  return ::poll(&poll, 1, 0) > 0;
}

std::optional<ExitStatus> told_exit(int pidfd) {
  PidfdInfo info{};
  info.mask = info_exit;
  if (::ioctl(pidfd, get_info, &info) != 0 || (info.mask & info_exit) == 0) return std::nullopt;
  return decode(info.exit_code);
}

std::optional<ExitStatus> exit_of_unreaped(pid_t pid, std::uint64_t start) {
  const std::string text = read_proc(pid, "stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const auto fields = std::string_view(text).substr(name_end);
  if (!fields.starts_with(") Z") || field(fields, start_time_field - 1) != start) return std::nullopt;
  const auto wait_status = static_cast<int>(field(fields, exit_code_field - 1));
  if (wait_status == 0) return std::nullopt;
  return decode(wait_status);
}

bool is_child(int pidfd) {
  siginfo_t info{};
  return ::waitid(P_PIDFD, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

pid_t pid_of(int pidfd) {
  constexpr std::string_view name = "Pid:";
  std::ifstream file("/proc/self/fdinfo/" + std::to_string(pidfd));
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const int pid = std::atoi(line.c_str() + name.size());
    return pid > 0 ? pid : 0;
  }
  return 0;
}

pid_t ended_child() {
  siginfo_t info{};
  const int result = ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT);
  return result == 0 ? info.si_pid : 0;
}

std::optional<ExitStatus> reap_child(pid_t pid) {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
    return std::nullopt;
  return decode(info);
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

void signal_group(int pidfd, pid_t pgid, std::uint64_t start, int signal) {
  if (::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, signal_process_group) == 0 || errno != EINVAL)
    return;
  // 0 would be our own group, 1 the system's.
  if (pgid > 1 && start != 0 && start_time(pgid) == start) ::killpg(pgid, signal);
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

std::uint64_t own_start_ms() {
  const auto ticks_a_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  timespec up{}, now{};
  ::clock_gettime(CLOCK_BOOTTIME, &up);
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto in_ms = [](const timespec& time) {
    return static_cast<std::uint64_t>(time.tv_sec) * 1000 +
           static_cast<std::uint64_t>(time.tv_nsec) / 1'000'000;
  };
  return in_ms(now) - in_ms(up) + start_time(::getpid()) * 1000 / ticks_a_second;
}

bool has_executed(pid_t pid) {
  const std::string text = read_proc(pid, "stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  return (field(std::string_view(text).substr(name_end), flags_field - 1) & forked_only) == 0;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) return;
  const char* const told = std::getenv(descriptor_limit_variable);
  const std::string_view text = told ? told : "";
  rlim_t soft = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), soft);
  if (error == std::errc{} && end == text.data() + text.size())
    limit.rlim_cur = std::min(soft, limit.rlim_max);
  inherited_limit = limit;
  ::setenv(descriptor_limit_variable, std::to_string(limit.rlim_cur).c_str(), 1);
}

std::optional<rlimit> inherited_descriptor_limit() { return inherited_limit; }

void close_from(int number) { ::closefrom(number); }

void become_subreaper() { ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

}  // namespace refork::os
