// What the names in a stack tell. Text in, answers out: where names come from is others' business.

#include "proto/stack.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "base/fingerprint.h"

namespace refork::proto {
namespace {

// Of a stack that is nobody's application: the frames that tell where it was, without what varies below.
constexpr std::size_t frames_at_hand = 4;

bool is_open(char c) { return c == '<' || c == '(' || c == '{' || c == '['; }
bool is_close(char c) { return c == '>' || c == ')' || c == '}' || c == ']'; }

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Whether `word` stands at `at`, as a whole word.
bool word_at(std::string_view text, std::size_t at, std::string_view word) {
  if (text.substr(at, word.size()) != word || (at > 0 && is_word(text[at - 1]))) return false;
  return at + word.size() == text.size() || !is_word(text[at + word.size()]);
}

// The end of what is opened at `at`; all kinds of brackets count alike, for the demangler balances them. The
// arrow of a trailing return type and shift operators do not occur where this is asked.
std::size_t skip_brackets(std::string_view text, std::size_t at) {
  std::size_t depth = 0;
  for (; at < text.size(); ++at) {
    if (is_open(text[at])) ++depth;
    if (is_close(text[at]) && text[at - 1] != '-' && --depth == 0) return at + 1;
  }
  return text.size();
}

// The end of an operator's name that begins at `at`: "operator()", "operator<<", "operator bool".
std::size_t skip_operator(std::string_view text, std::size_t at) {
  at += std::string_view("operator").size();
  if (text.substr(at, 2) == "()") return at + 2;
  return std::min(text.find('(', at), text.size());
}

bool key_equal(const Frame& one, const Frame& other, FrameKey key) {
  if (key == FrameKey::name && (!one.function.empty() || !other.function.empty()))
    return one.function == other.function;
  return one.module == other.module && one.offset == other.offset;
}

void add_frame(base::Fingerprint& hash, const Frame& frame, FrameKey key) {
  if (key == FrameKey::name && !frame.function.empty()) return hash.add(frame.function);
  hash.add(basename_of(frame.module));
  hash.add(&frame.offset, sizeof frame.offset);
}

}  // namespace

std::string_view basename_of(std::string_view path) noexcept { return path.substr(path.rfind('/') + 1); }

std::string_view qualified_name(std::string_view text) noexcept {
  std::size_t start = 0, at = 0;
  while (at < text.size()) {
    const char c = text[at];
    if (word_at(text, at, "operator")) return text.substr(start, skip_operator(text, at) - start);
    const bool parameters = c == '(' && at > start && !text.substr(at).starts_with("(anonymous namespace)") &&
                            !text.substr(start, at - start).ends_with("decltype");
    if (parameters) break;
    if (c == ' ') start = at + 1;
    at = is_open(c) ? skip_brackets(text, at) : at + 1;
  }
  return text.substr(start, at - start);
}

bool is_library_code(std::string_view function, std::string_view file) noexcept {
  static constexpr std::array<std::string_view, 6> scopes = {
      "std::", "__gnu_cxx::", "__cxxabiv1::", "boost::", "refork::", "refork_"};
  static constexpr std::array<std::string_view, 2> places = {"/usr/include/", "/usr/lib/"};
  const std::string_view name = qualified_name(function);
  return std::ranges::any_of(scopes, [name](std::string_view scope) { return name.starts_with(scope); }) ||
         std::ranges::any_of(places, [file](std::string_view place) { return file.starts_with(place); });
}

bool is_system_path(std::string_view module) noexcept {
  static constexpr std::array<std::string_view, 7> roots = {
      "/lib/", "/lib64/", "/lib32/", "/usr/lib/", "/usr/lib64/", "/usr/lib32/", "linux-vdso"};
  return std::ranges::any_of(roots, [module](std::string_view root) { return module.starts_with(root); });
}

std::uint64_t fingerprint(std::string_view type, const std::vector<Frame>& stack, FrameKey key) noexcept {
  base::Fingerprint hash;
  hash.add(type);
  const bool any_own = std::ranges::any_of(stack, &Frame::in_app);
  const std::size_t looked_at = any_own ? stack.size() : std::min(stack.size(), frames_at_hand);
  const Frame* last = nullptr;
  for (std::size_t i = 0; i < looked_at; ++i) {
    if (any_own && !stack[i].in_app) continue;
    if (last == nullptr || !key_equal(*last, stack[i], key)) add_frame(hash, stack[i], key);
    last = &stack[i];
  }
  return hash.value();
}

}  // namespace refork::proto
