#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace refork::base {

// 64-bit FNV-1a: a number for what belongs together. Not for what an adversary may choose.
class Fingerprint {
 public:
  void add(const void* data, std::size_t size) noexcept {
    const auto* bytes = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size; ++i) value_ = (value_ ^ bytes[i]) * 1099511628211u;
  }
  void add(std::string_view text) noexcept {
    add(text.data(), text.size());
    add("", 1);  // so that "ab" + "c" is not "a" + "bc"
  }
  std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 14695981039346656037u;
};

// Sixteen hexadecimal digits.
inline std::string to_hex(std::uint64_t value) {
  std::string text(16, '0');
  for (auto digit = text.rbegin(); digit != text.rend(); ++digit, value >>= 4)
    *digit = "0123456789abcdef"[value & 15];
  return text;
}

}  // namespace refork::base
