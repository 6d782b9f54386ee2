#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace refork::base {

// Bytes of the valid UTF-8 sequence that `text` begins with; 0 if it begins with none.
std::size_t utf8_sequence(std::string_view text) noexcept;

// The beginning of `text`, at most `max` bytes, never ending inside a sequence.
std::string_view utf8_prefix(std::string_view text, std::size_t max) noexcept;

enum class Controls {
  drop,         // one line of text: no control character at all
  keep_layout,  // newline and tab stay
};

// Text from somebody who is not trusted: each byte that is no UTF-8 becomes U+FFFD, control characters (C0,
// DEL, C1) are dropped, so that it can neither break a terminal nor a D-Bus string. What is longer than `max`
// bytes then is cut, its end marked with an ellipsis. Idempotent. `max` is at least 3.
std::string utf8_clean(std::string_view text, Controls controls, std::size_t max);

}  // namespace refork::base
