#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "refork/failure.hpp"

namespace refork::detail {

inline constexpr std::size_t cause_limit = 8;

// An error whose thrower names its type in words: one that came from C.
struct NamedError : std::runtime_error {
  NamedError(std::string type_name, const std::string& message)
      : std::runtime_error(message), type(std::move(type_name)) {}
  std::string type;
};

// Type, message and nested causes of an exception. Never fails: what memory does not suffice for stays empty,
// a what() that throws or gives null is said in its place.
void describe(const std::exception_ptr& exception, Failure& failure) noexcept;

// "std::runtime_error" for "St13runtime_error"; the name itself if it is none.
std::string demangle(const char* name);

}  // namespace refork::detail
