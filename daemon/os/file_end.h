#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace refork::os {

// The last bytes of a regular file, at most so many, and none of those before `from`; where it has become
// shorter than that, somebody has emptied it, and its beginning counts. Empty if there is nothing. May take
// its time.
std::string read_end(const std::string& path, std::uint64_t from, std::size_t most);

}  // namespace refork::os
