#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string_view>

namespace refork::base {

// The names of an enum stand beside it: specialise EnumNames with a constexpr array `names`, one entry for
// each enumerator in order. The enum ends in no counter; the array's size is its count, so state tables use
// enum_count<E> and a forgotten row or name does not compile.
template <class E>
struct EnumNames;

template <class E>
inline constexpr std::size_t enum_count = EnumNames<E>::names.size();

template <class E>
constexpr std::size_t index(E value) {
  return static_cast<std::size_t>(value);
}

template <class E>
constexpr std::string_view to_name(E value) {
  return index(value) < enum_count<E> ? EnumNames<E>::names[index(value)] : std::string_view("?");
}

template <class E>
constexpr std::optional<E> from_name(std::string_view name) {
  for (std::size_t i = 0; i < enum_count<E>; ++i)
    if (EnumNames<E>::names[i] == name) return static_cast<E>(i);
  return std::nullopt;
}

}  // namespace refork::base
