#pragma once

#include <optional>
#include <string>

#include "config/config.h"

namespace refork {

// What reforkd was told on its command line.
struct CommandLine {
  std::string control, state_dir;
  std::string config_name;  // file, or "command line"
  config::Outcome config;
  bool one_service = false;  // by `run`, not a file
  bool keeper = true;        // may be started
  bool system_bus = false;   // the name org.refork1 is asked for
  bool exit_on_give_up = false;
  bool clean_up = false;  // nothing else
};

// Prints help, version or what is wrong, and gives the exit code in `exit_code`, where there is nothing to
// run.
std::optional<CommandLine> parse_command_line(int argc, char** argv, int& exit_code);

}  // namespace refork
