// Threads in /proc: who is there, what the scheduler gave them, where they wait. It draws no conclusion.
#include "os/task.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace refork::os {
namespace {

std::string task_file(pid_t pid, pid_t tid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/" + file;
}

std::string first_line(pid_t pid, pid_t tid, const char* file) {
  std::ifstream in(task_file(pid, tid, file));
  std::string line;
  std::getline(in, line);
  return line;
}

// Of "4711 (a name) R 1 ...", where the name may hold anything.
std::optional<char> state_in(const std::string& stat) {
  const std::size_t name_end = stat.rfind(") ");
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return std::nullopt;
  return stat[name_end + 2];
}

}  // namespace

std::vector<pid_t> list_threads(pid_t pid) {
  std::vector<pid_t> threads;
  std::error_code error;
  std::filesystem::directory_iterator entry("/proc/" + std::to_string(pid) + "/task", error), end;
  for (; !error && entry != end && threads.size() < max_threads_read; entry.increment(error))
    if (const pid_t tid = std::atoi(entry->path().filename().c_str()); tid > 0) threads.push_back(tid);
  return threads;
}

std::optional<core::Task> read_task(pid_t pid, pid_t tid) {
  core::Task task;
  std::ifstream in(task_file(pid, tid, "schedstat"));
  in >> task.run_ns >> task.delay_ns >> task.slices;
  if (!in) return std::nullopt;  // gone, or a kernel without it
  const auto state = state_in(first_line(pid, tid, "stat"));
  if (!state) return std::nullopt;
  task.state = *state;
  return task;
}

std::vector<ThreadState> describe_threads(pid_t pid) {
  std::vector<ThreadState> threads;
  for (const pid_t tid : list_threads(pid)) {
    const auto state = state_in(first_line(pid, tid, "stat"));
    if (!state) continue;
    std::string place = first_line(pid, tid, "wchan");
    if (place == "0") place.clear();
    threads.push_back({tid, first_line(pid, tid, "comm"), *state, std::move(place)});
  }
  return threads;
}

std::string_view say_thread_state(char state) {
  switch (state) {
    case 'R':
      return "running";
    case 'S':
      return "sleeping";
    case 'D':
      return "waiting for a device";
    case 'T':
      return "stopped";
    case 't':
      return "stopped by a debugger";
    case 'Z':
    case 'X':
      return "dead";
    default:
      return "idle";
  }
}

void signal_thread(pid_t pid, pid_t tid, int signal) {
  if (pid > 0 && tid > 0) ::syscall(SYS_tgkill, pid, tid, signal);
}

}  // namespace refork::os
