// Text that is safe to show: what is valid UTF-8, where it may be cut, what of it is no text. It knows
// sequences and control characters, not graphemes, widths or normal forms.

#include "base/utf8.h"

namespace refork::base {
namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view ellipsis = "\xE2\x80\xA6";     // U+2026

unsigned byte_at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }
bool continues(std::string_view text, std::size_t i) { return (byte_at(text, i) & 0xC0u) == 0x80u; }

// The second byte is where overlong forms, surrogates and code points over U+10FFFF show (Unicode, table
// 3-7).
bool second_byte_fits(unsigned first, unsigned second) {
  switch (first) {
    case 0xE0:
      return second >= 0xA0;
    case 0xED:
      return second <= 0x9F;
    case 0xF0:
      return second >= 0x90;
    case 0xF4:
      return second <= 0x8F;
    default:
      return true;
  }
}

bool is_control(std::string_view sequence) {
  const unsigned first = byte_at(sequence, 0);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7F;
  return sequence.size() == 2 && first == 0xC2 && byte_at(sequence, 1) < 0xA0;
}

bool is_layout(std::string_view sequence) { return sequence == "\n" || sequence == "\t"; }

}  // namespace

std::size_t utf8_sequence(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const unsigned first = byte_at(text, 0);
  if (first < 0x80) return 1;
  const std::size_t length = first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if (!continues(text, i)) return 0;
  return second_byte_fits(first, byte_at(text, 1)) ? length : 0;
}

std::string_view utf8_prefix(std::string_view text, std::size_t max) noexcept {
  if (text.size() <= max) return text;
  std::size_t end = max;
  while (end > 0 && max - end < 3 && continues(text, end)) --end;
  // No sequence is that long: these are stray bytes, and may be cut anywhere.
  if (continues(text, end)) end = max;
  return text.substr(0, end);
}

std::string utf8_clean(std::string_view text, Controls controls, std::size_t max) {
  std::string clean;
  clean.reserve(text.size() < max ? text.size() : max);
  while (!text.empty() && clean.size() <= max) {
    const std::size_t length = utf8_sequence(text);
    const auto sequence = text.substr(0, length);
    if (length == 0)
      clean += replacement;
    else if (!is_control(sequence) || (controls == Controls::keep_layout && is_layout(sequence)))
      clean += sequence;
    text.remove_prefix(length == 0 ? 1 : length);
  }
  if (clean.size() <= max) return clean;
  return std::string(utf8_prefix(clean, max - ellipsis.size())) += ellipsis;
}

}  // namespace refork::base
