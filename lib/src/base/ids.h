#pragma once

#include <cstddef>
#include <string_view>

namespace refork::base {

// The id of a failure record, made by the worker: what is safe in a file name, a key and on a command line.
inline constexpr std::size_t max_id = 64;
inline constexpr std::string_view id_rule = "1 to 64 of the characters A-Z a-z 0-9 . _ : -";

constexpr bool is_id(std::string_view text) {
  if (text.empty() || text.size() > max_id) return false;
  return text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") ==
         text.npos;
}

}  // namespace refork::base
