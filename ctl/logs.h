#pragma once

#include "ctl/client.h"
#include "ctl/commands.h"

namespace refork::ctl {

// `reforkctl logs`; the exit code.
int show_logs(Client& client, const Invocation& call, const Console& console);

}  // namespace refork::ctl
