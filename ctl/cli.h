#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"
#include "ctl/client.h"

// The command line as a value.
namespace refork::ctl {

// Exit codes, as reforkctl(1) has them.
enum Exit : int {
  ok = 0,
  failed = 1,
  usage = 2,
  stopped = 3,
  denied = 4,
  no_daemon = 5
};

enum class Command {
  status,
  why,
  failures_list,
  failures_show,
  failures_top,
  failures_clear,
  operate,
  events,
  logs,
  daemon_reexec,
  check_config
};

struct Invocation {
  Command command = Command::status;
  std::string control;  // --control; empty: default_control()
  bool json = false, no_color = false;
  std::string name;    // the command as it was typed: "reload"
  std::string target;  // a service, a worker, a record's id, a file
  Operation operation;
  FailureFilter filter;
  std::string since;
  std::optional<std::uint64_t> count;  // events -n, logs -n
  bool follow = false;                 // logs -f
  bool messages = false;               // events --messages
};

// Nothing to do but to say this and leave: --help, --version, a mistake.
struct Farewell {
  int code = Exit::ok;
  std::string text;
};

std::variant<Invocation, Farewell> parse_command_line(int argc, const char* const* argv);

// $REFORK_CONTROL, else /run/refork/control for root. For others their own daemon's socket in
// $XDG_RUNTIME_DIR, or the system's if only that exists.
std::string default_control();

// "10m", "2h", "3d" (ago), "2026-11-22 10:00[:00]" (local time), "@1790000000": Unix time in ms. Pure but for
// the time zone.
base::Result<std::uint64_t> parse_since(const std::string& text, std::uint64_t now_ms);

}  // namespace refork::ctl
