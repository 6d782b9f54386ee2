#pragma once

#include "ctl/commands.h"

namespace refork::ctl {

// `reforkctl check-config FILE`: what reforkd would say of this file. The exit code.
int check_config(const Invocation& call, const Console& console);

}  // namespace refork::ctl
