#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork {

// Where reforkd keeps what: directories made, and held against a second instance.
struct Places {
  std::string control, state;
  base::UniqueFd control_lock, state_lock;

  Places() = default;
  Places(Places&&) = default;
  // Removes what was made to hold them; the locks are ours until then.
  ~Places();
};

base::Result<Places> take_places(const std::string& control, const std::string& state_dir);

}  // namespace refork
