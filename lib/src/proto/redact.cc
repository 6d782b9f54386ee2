// What is hidden in a record before anybody stores or shows it. It looks for names, not for what a secret
// might look like: what is hidden can be said in a sentence.

#include "proto/redact.h"

#include <algorithm>
#include <array>
#include <utility>

namespace refork::proto {
namespace {

constexpr std::string_view query_name = "query";
constexpr auto defaults = std::to_array<std::string_view>({
    "Authorization",
    "Cookie",
    "X-Api-Key",
    "api_key",
    "access_key",
    "private_key",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credentials",
    query_name,
});

constexpr bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_word(char c) {
  return is_upper(c) || is_lower(c) || (c >= '0' && c <= '9') || static_cast<unsigned char>(c) >= 0x80;
}
constexpr bool is_key(char c) { return is_word(c) || c == '-' || c == '_' || c == '.'; }
constexpr bool is_space(char c) { return c == ' ' || c == '\t'; }
constexpr bool is_end_of_line(char c) { return c == '\n' || c == '\r'; }
constexpr char lower(char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

// "X-Auth-Token", "authToken" and "auth_token" in their words: "auth", "token".
bool begins_word(std::string_view key, std::size_t at) {
  if (at == 0 || !is_word(key[at - 1])) return true;
  if (!is_upper(key[at])) return false;
  return !is_upper(key[at - 1]) || (at + 1 < key.size() && is_lower(key[at + 1]));
}

std::string without_separators(std::string_view key) {
  std::string out;
  for (const char c : key)
    if (is_word(c)) out += lower(c);
  return out;
}

// Values of these are lists, with the separators that end other values.
bool runs_to_the_end_of_the_line(std::string_view key) {
  const std::string plain = without_separators(key);
  return plain.ends_with("authorization") || plain.ends_with("cookie");
}

// One "key=value" or "Key: value" at a place: where its value is, and what ends that.
struct Pair {
  std::size_t value = 0, end = 0;
};

std::size_t skip_spaces(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

// Past the quote at a place, which stands behind a backslash where JSON is inside a string; `at`: there is
// none.
std::size_t skip_quote(std::string_view text, std::size_t at) {
  const std::size_t quote = std::min(text.find_first_not_of('\\', at), text.size());
  return quote < text.size() && (text[quote] == '"' || text[quote] == '\'') ? quote + 1 : at;
}

// Of what begins behind a quote with so many backslashes. Each level of strings doubles those of a quote
// inside.
std::size_t end_of_quoted(std::string_view text, std::size_t at, std::size_t backslashes) {
  const char quote = text[at - 1];
  for (std::size_t run = 0; at < text.size(); ++at) {
    if (text[at] == quote && run >= backslashes && (run - backslashes) % (2 * backslashes + 2) == 0)
      return at - backslashes;
    run = text[at] == '\\' ? run + 1 : 0;
  }
  return text.size();
}

std::size_t end_of_value(std::string_view text, std::size_t at, bool whole_line) {
  constexpr std::string_view ends = " \t&;,\"'#)}";
  // "Bearer abc" is one value.
  for (const std::string_view scheme : {"bearer ", "basic "})
    if (lower_case(text.substr(at, scheme.size())) == scheme) at += scheme.size();
  while (at < text.size() && !is_end_of_line(text[at]) &&
         (whole_line || ends.find(text[at]) == std::string_view::npos))
    ++at;
  return at;
}

// The value of the key that ends at `at`, if a separator and a value follow it.
Pair value_after(std::string_view text, std::string_view key, std::size_t at) {
  constexpr Pair none;
  at = skip_spaces(text, skip_quote(text, at));  // of a quoted key
  if (at >= text.size() || (text[at] != '=' && text[at] != ':')) return none;
  const bool header = text[at] == ':' || runs_to_the_end_of_the_line(key);
  at = skip_spaces(text, at + 1);
  if (at >= text.size()) return none;
  if (const std::size_t value = skip_quote(text, at); value != at)
    return {value, end_of_quoted(text, value, value - at - 1)};
  return {at, end_of_value(text, at, header)};
}

std::string without_query(std::string_view label) {
  const std::size_t question = label.find('?');
  if (question == label.npos) return std::string(label);
  const std::size_t begin = question + 1;
  const std::size_t end = std::min(label.find_first_of(" \t\r\n", begin), label.size());
  if (begin == end) return std::string(label);
  return std::string(label.substr(0, begin)) + std::string(redacted) + std::string(label.substr(end));
}

}  // namespace

std::span<const std::string_view> Redactor::default_names() { return defaults; }

Redactor::Redactor(std::span<const std::string_view> names) {
  for (const auto name : names) add(name);
}

Redactor::Redactor(const std::vector<std::string>& names) {
  for (const auto& name : names) add(name);
}

void Redactor::add(std::string_view name) {
  if (lower_case(name) == query_name) {
    query_ = true;
  } else if (std::string plain = without_separators(name); !plain.empty()) {
    longest_ = std::max(longest_, plain.size());
    names_.push_back(std::move(plain));
  }
}

Redactor Redactor::showing_query() const {
  Redactor other = *this;
  other.query_ = false;
  return other;
}

bool Redactor::hides_key(std::string_view key) const {
  std::string plain;  // the last words, until they are longer than any name
  for (std::size_t at = key.size(); at-- > 0 && plain.size() <= longest_;) {
    if (!is_word(key[at])) continue;
    plain.insert(plain.begin(), lower(key[at]));
    if (begins_word(key, at) && std::ranges::find(names_, plain) != names_.end()) return true;
  }
  return false;
}

std::string Redactor::text(std::string_view text) const {
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    if (!is_key(text[at])) {
      out += text[at++];
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && is_key(text[end])) ++end;
    const std::string_view key = text.substr(at, end - at);
    out += key;
    at = end;
    if (!hides_key(key)) continue;  // first: where a value ends may be far away
    const Pair pair = value_after(text, key, end);
    if (pair.value == pair.end) continue;
    out += text.substr(end, pair.value - end);
    out += redacted;
    at = pair.end;
  }
  return out;
}

std::string Redactor::label(std::string_view label) const {
  return text(query_ ? without_query(label) : std::string(label));
}

void Redactor::apply(FailureRecord& record) const {
  if (record.request) record.request->label = label(record.request->label);
  for (auto& [key, value] : record.context) value = hides_key(key) ? std::string(redacted) : text(value);
  for (auto& thread : record.threads) thread.request = label(thread.request);
  record.output_tail = text(record.output_tail);
}

void Redactor::apply(Outcome& outcome) const {
  for (auto& request : outcome.cut) request.label = label(request.label);
}

}  // namespace refork::proto
