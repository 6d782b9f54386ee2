#pragma once

#include <functional>
#include <string_view>

#include "ctl/cli.h"
#include "ctl/text.h"

namespace refork::ctl {

// Where reforkctl speaks; each write appears at once.
struct Console {
  std::function<void(std::string_view)> out, err;
  bool progress = false;  // stderr is a terminal: what happens while waiting is shown there
  View view;              // of stdout; now_ms is set by run()
  std::function<std::uint64_t()> now_ms;
};

// Performs one command; the exit code. Never throws for anything that reforkd says.
int run(const Invocation& call, const Console& console);

}  // namespace refork::ctl
