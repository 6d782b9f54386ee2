// Which variables stop here. What is added for somebody is known to those who start him.
#include "os/environment.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace refork::os {
namespace {

struct Variable {
  std::string_view name;
  bool from_own_too = true;  // keeper and reforkd tell each other anew
};

// systemd.exec(5), sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3); and our own.
constexpr std::array withheld = std::to_array<Variable>({
    {"LISTEN_FDS"},
    {"LISTEN_PID"},
    {"LISTEN_FDNAMES"},
    {"NOTIFY_SOCKET"},
    {"FDSTORE"},
    {"REFORK_KEEPER"},
    {"REFORK_KEEPS"},
    {"REFORK_EXECUTED"},
    {"REFORK_NOFILE", false},
    {"REFORK_CONTROL", false},  // where reforkd is told by it to have its socket
    {"REFORK_CHANNEL", false},
    {"REFORK_RECORDER", false},
    {"REFORK_SERVICE", false},
    {"REFORK_SLOT", false},
    {"REFORK_WORKER", false},
    {"WATCHDOG_USEC", false},
    {"WATCHDOG_PID", false},
    {"MAINPID", false},
    {"MANAGERPID", false},
    {"INVOCATION_ID", false},
    {"SYSTEMD_EXEC_PID", false},
    {"PIDFILE", false},
    {"CREDENTIALS_DIRECTORY", false},
    {"RUNTIME_DIRECTORY", false},
    {"STATE_DIRECTORY", false},
    {"CACHE_DIRECTORY", false},
    {"LOGS_DIRECTORY", false},
    {"CONFIGURATION_DIRECTORY", false},
    {"MEMORY_PRESSURE_WATCH", false},
    {"MEMORY_PRESSURE_WRITE", false},
});

}  // namespace

bool is_withheld(std::string_view name, Receiver receiver) {
  const auto found = std::ranges::find(withheld, name, &Variable::name);
  return found != withheld.end() && (receiver == Receiver::worker || found->from_own_too);
}

std::vector<std::string> environment_for(Receiver receiver) {
  std::vector<std::string> passed;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    if (!is_withheld(text.substr(0, equals), receiver)) passed.emplace_back(text);
  }
  return passed;
}

}  // namespace refork::os
