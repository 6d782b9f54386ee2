#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "proto/record.h"

// What the names in a stack tell: whose code it is, and whether two stacks are the same place.
namespace refork::proto {

// The function's qualified name in a demangled one, without a template's return type and without parameters:
// "void std::sort<int*>(int*, int*)" is std::sort<int*>.
std::string_view qualified_name(std::string_view demangled) noexcept;

// Code that is nobody's application: the standard library, Boost and refork, by name or by where it stands.
// Either may be empty: not known.
bool is_library_code(std::string_view function, std::string_view file) noexcept;

// Whether a module is one of the system's own libraries (/lib, /usr/lib and their kin).
bool is_system_path(std::string_view module) noexcept;

std::string_view basename_of(std::string_view path) noexcept;

// By what a frame is known again.
enum class FrameKey {
  place,  // module and offset: the same in every process of one build
  name,   // the function's name, where there is one: the same in every build
};

// What makes two failures the same: type, and the application's own frames, equal neighbours once, so that
// recursion of any depth is one. Without such frames the newest ones stand for them. Never the message, and
// no address of a process.
std::uint64_t fingerprint(std::string_view type, const std::vector<Frame>& stack, FrameKey key) noexcept;

}  // namespace refork::proto
