#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

namespace refork::os {

constexpr std::uint64_t end_of_file = std::numeric_limits<std::uint64_t>::max();

// The last bytes of a regular file before `to`, at most so many, and none of those before `from`; where it
// has become shorter than that, somebody has emptied it, and its beginning counts. Empty if there is nothing.
// May take its time.
std::string read_end(const std::string& path, std::uint64_t from, std::size_t most,
                     std::uint64_t to = end_of_file);

std::optional<std::uint64_t> file_size(const std::string& path);  // of a regular one

}  // namespace refork::os
