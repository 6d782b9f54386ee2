#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/health.h"

// The threads of a process, as /proc tells. A thread may be gone before it is read.
namespace refork::os {

inline constexpr std::size_t max_threads_read = 256;  // of one process

std::vector<pid_t> list_threads(pid_t pid);
std::optional<core::Task> read_task(pid_t pid, pid_t tid);

struct ThreadState {
  pid_t tid = 0;
  std::string name;
  char state = '?';   // proc(5)
  std::string place;  // the function in the kernel that it waits in; empty: none, or not to be seen
};
std::vector<ThreadState> describe_threads(pid_t pid);
std::string_view say_thread_state(char state);  // "sleeping"

void signal_thread(pid_t pid, pid_t tid, int signal);  // tgkill; the process must not have been reaped

}  // namespace refork::os
