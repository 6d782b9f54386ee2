#pragma once

#include <string_view>

namespace refork::base {

// "SIGSEGV"; "a signal" for one that has no name here. Both are async-signal-safe.
std::string_view signal_name(int signal) noexcept;
// What a si_code says of it: "address not mapped"; empty where nothing is known.
std::string_view signal_code_name(int signal, int code) noexcept;

}  // namespace refork::base
