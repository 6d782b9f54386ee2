// JSON from somebody who is not trusted: bounded before it is parsed, and read field by field with an error
// that says what was expected. It knows nothing of what the fields mean.

#include "proto/json.h"

#include <cerrno>

namespace refork::proto {
namespace {

// Steps over a text byte by byte and knows whether it is inside a string, and how deep.
class Scanner {
 public:
  void step(char c) {
    if (in_string_) {
      if (escaped_)
        escaped_ = false;
      else if (c == '\\')
        escaped_ = true;
      else if (c == '"')
        in_string_ = false;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if (c == '}' || c == ']') {
      --depth_;
    }
  }
  bool in_string() const { return in_string_; }
  int depth() const { return depth_; }

 private:
  bool in_string_ = false;
  bool escaped_ = false;
  int depth_ = 0;
};

bool deeper_than(int depth, std::string_view text) {
  Scanner scanner;
  for (const char c : text) {
    scanner.step(c);
    if (scanner.depth() > depth) return true;
  }
  return false;
}

// What the parser takes though it is no JSON: it skips a byte order mark, and takes a NUL for the end of the
// text.
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
bool parser_is_lenient_with(std::string_view text) {
  return text.substr(0, byte_order_mark.size()) == byte_order_mark || text.find('\0') != text.npos;
}

// Finds out where a text stops being JSON, without an exception.
class WhereWrong final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    position_ = position;
    return false;
  }
  std::size_t position() const { return position_; }

 private:
  std::size_t position_ = 0;
};

std::size_t where_wrong(std::string_view text) {
  if (const auto nul = text.find('\0'); nul != text.npos) return nul + 1;
  WhereWrong where;
  Json::sax_parse(text, &where);
  return where.position();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const auto first = text.find_first_not_of(space);
  return first == text.npos ? std::string_view()
                            : text.substr(first, text.find_last_not_of(space) - first + 1);
}

// `member` is `"key" : value`.
bool is_member(std::string_view member, std::string_view key) {
  return member.size() > key.size() + 2 && member.front() == '"' && member.substr(1, key.size()) == key &&
         member[key.size() + 1] == '"';
}

}  // namespace

base::Result<Json> parse_json(std::string_view text, std::string_view what, int depth) {
  if (deeper_than(depth, text))
    return base::Error{EBADMSG,
                       std::string(what) + " is nested deeper than " + std::to_string(depth) + " levels"};
  Json value =
      parser_is_lenient_with(text) ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
  if (value.is_discarded())
    return base::Error{
        EBADMSG, std::string(what) + " is not valid JSON, at byte " + std::to_string(where_wrong(text))};
  return value;
}

std::string print_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string_view raw_member(std::string_view text, std::string_view key) {
  std::string_view found;
  Scanner scanner;
  std::size_t start = 0;  // of the member under way
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int before = scanner.depth();
    scanner.step(text[i]);
    if (scanner.in_string()) continue;
    const bool opens = before == 0 && scanner.depth() == 1;
    const bool closes = before == 1 && (scanner.depth() == 0 || (scanner.depth() == 1 && text[i] == ','));
    if (closes) {
      const auto member = trimmed(text.substr(start, i - start));
      // The last of several counts, as it does for the parser.
      if (is_member(member, key)) found = trimmed(trimmed(member.substr(key.size() + 2)).substr(1));
    }
    if (opens || closes) start = i + 1;
  }
  return found;
}

const Json* Fields::get(const char* key) {
  const auto found = object_.find(key);
  if (found != object_.end()) return &*found;
  if (error_.empty()) error_ = std::string(what_) + " has no \"" + key + "\"";
  return nullptr;
}

std::uint64_t Fields::number(const char* key, std::uint64_t max) {
  const Json* value = get(key);
  if (value == nullptr) return 0;
  if (value->is_number_unsigned() && value->get<std::uint64_t>() <= max) return value->get<std::uint64_t>();
  wrong(key, "a whole number from 0 to " + std::to_string(max));
  return 0;
}

bool Fields::flag(const char* key) {
  const Json* value = get(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  wrong(key, "true or false");
  return false;
}

std::string Fields::text(const char* key, std::size_t max_bytes) {
  const Json* value = get(key);
  if (value == nullptr) return {};
  if (value->is_string() && value->get_ref<const std::string&>().size() <= max_bytes)
    return value->get<std::string>();
  wrong(key, "text of at most " + std::to_string(max_bytes) + " bytes");
  return {};
}

void Fields::wrong(const char* key, std::string_view expected) {
  if (error_.empty())
    error_ = std::string(what_) + " has a wrong \"" + key + "\": expected " + std::string(expected);
}

base::Result<void> Fields::result() const {
  if (error_.empty()) return {};
  return base::Error{EBADMSG, error_};
}

}  // namespace refork::proto
