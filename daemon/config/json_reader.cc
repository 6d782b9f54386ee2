// From text to a tree of values that know their line and column.
//
// nlohmann's SAX parser decides what is JSON; it does not say where its tokens stand. As its events come in
// the order of the text, a cursor of our own follows them: it skips blanks, comments and punctuation up to
// the token that the event is about, and then the token itself, which the parser has found to be well formed.
// Errors are told in our own words, from where the cursor stands and what is open there; only for a malformed
// token the parser's reason is used.
#include "config/json_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace refork::config {
namespace {

constexpr std::size_t max_quoted = 60;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
constexpr double largest_exact = 9007199254740992.0;  // 2^53: whole doubles below it are exact

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_punctuation(char c) { return std::string_view("{}[],:").find(c) != std::string_view::npos; }

class Cursor {
 public:
  explicit Cursor(std::string_view text) : text_(text) {
    if (text.substr(0, byte_order_mark.size()) == byte_order_mark) offset_ = byte_order_mark.size();
  }

  Position at() const { return {line_, column_}; }
  std::size_t offset() const { return offset_; }
  bool done() const { return offset_ >= text_.size(); }
  char peek() const { return done() ? '\0' : text_[offset_]; }

  void step() {
    const char c = text_[offset_++];
    if (c == '\n') {
      ++line_;
      column_ = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) {  // not inside a UTF-8 sequence
      ++column_;
    }
  }

  // Whitespace and whole comments; a comment that is never closed stays in front of the cursor.
  void skip_blanks() {
    while (!done()) {
      const std::string_view rest = text_.substr(offset_);
      if (is_blank(rest[0]))
        step();
      else if (rest.substr(0, 2) == "//")
        step_to(std::min(rest.find('\n'), rest.size()));
      else if (const std::size_t end = rest.find("*/", 2); rest.substr(0, 2) == "/*" && end != rest.npos)
        step_to(end + 2);
      else
        return;
    }
  }

  void skip_token() {
    if (done()) return;
    const char first = peek();
    step();
    if (first == '"')
      skip_string();
    else if (!is_punctuation(first))
      while (!done() && !is_blank(peek()) && !is_punctuation(peek()) && peek() != '/') step();
  }

 private:
  void step_to(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) step();
  }

  void skip_string() {
    while (!done() && peek() != '"') {
      const bool escape = peek() == '\\';
      step();
      if (escape && !done()) step();
    }
    if (!done()) step();
  }

  std::string_view text_;
  std::size_t offset_ = 0, line_ = 1, column_ = 1;
};

class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit TreeBuilder(std::string_view text) : text_(text), cursor_(text) {}

  Document take(bool parsed) {
    if (parsed) expect_end();
    return std::move(document_);
  }

  bool null() override { return scalar(Value::Kind::null); }

  bool boolean(bool value) override { return scalar(Value::Kind::boolean, value ? "true" : "false", value); }

  bool number_integer(number_integer_t value) override {
    return scalar(Value::Kind::integer, std::to_string(value), false, value);
  }

  bool number_unsigned(number_unsigned_t value) override {
    const bool fits = value <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max());
    return scalar(fits ? Value::Kind::integer : Value::Kind::number, std::to_string(value), false,
                  fits ? static_cast<std::int64_t>(value) : 0);
  }

  bool number_float(number_float_t value, const string_t& text) override {
    const bool whole = std::trunc(value) == value && std::abs(value) < largest_exact;
    return scalar(whole ? Value::Kind::integer : Value::Kind::number, text, false,
                  whole ? static_cast<std::int64_t>(value) : 0);
  }

  bool string(string_t& value) override { return scalar(Value::Kind::string, value); }

  bool binary(binary_t&) override { return false; }  // JSON text has none

  bool start_object(std::size_t) override { return open(Value::Kind::object); }
  bool start_array(std::size_t) override { return open(Value::Kind::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& key) override {
    const Position at = next_token();
    open_.back()->members.push_back({key, at, {}});
    after_key_ = true;
    return true;
  }

  bool parse_error(std::size_t read, const std::string&,
                   const nlohmann::json::exception& exception) override {
    const char passed = find_error(read);
    std::string what = malformed(exception.what());
    if (what.empty()) what = "expected " + expected(passed) + ", found " + found();
    return fail(cursor_.at(), std::move(what));
  }

 private:
  bool fail(Position at, std::string what) {
    document_.error = SyntaxError{at, std::move(what)};
    return false;
  }

  // Goes to the token of this event and over it.
  Position next_token() {
    cursor_.skip_blanks();
    while (cursor_.peek() == ',' || cursor_.peek() == ':') {
      cursor_.step();
      cursor_.skip_blanks();
    }
    const Position at = cursor_.at();
    cursor_.skip_token();
    return at;
  }

  Value& place() {
    begun_ = true;
    after_key_ = false;
    if (open_.empty()) return document_.root;
    Value& parent = *open_.back();
    return parent.kind == Value::Kind::array ? parent.items.emplace_back() : parent.members.back().value;
  }

  bool scalar(Value::Kind kind, std::string text = "null", bool boolean = false, std::int64_t integer = 0) {
    Value& value = place();
    value.kind = kind;
    value.at = next_token();
    value.text = std::move(text);
    value.boolean = boolean;
    value.integer = integer;
    return true;
  }

  bool open(Value::Kind kind) {
    Value& value = place();
    value.kind = kind;
    value.at = next_token();
    if (open_.size() == max_depth)
      return fail(value.at,
                  "expected at most " + std::to_string(max_depth) + " lists and objects in one another");
    open_.push_back(&value);
    return true;
  }

  bool close() {
    open_.pop_back();
    next_token();
    return true;
  }

  // nlohmann takes a NUL for the end of the text.
  void expect_end() {
    cursor_.skip_blanks();
    if (!cursor_.done()) fail(cursor_.at(), "expected the end of the file, found " + found());
  }

  // Goes to the token that the parser stumbled over, when it had read so many bytes. Returns the last
  // punctuation on the way.
  char find_error(std::size_t read) {
    char passed = '\0';
    cursor_.skip_blanks();
    while ((cursor_.peek() == ',' || cursor_.peek() == ':') && cursor_.offset() + 1 < read) {
      passed = cursor_.peek();
      cursor_.step();
      cursor_.skip_blanks();
    }
    return passed;
  }

  std::string expected(char passed) const {
    if (open_.empty()) return begun_ ? "the end of the file" : "'{'";
    const Value& parent = *open_.back();
    if (after_key_) return passed == ':' ? "a value after ':'" : "':' after the key";
    if (parent.kind == Value::Kind::array) {
      if (passed == ',') return "a value after ','";
      return parent.items.empty() ? "a value or ']'" : "',' or ']'";
    }
    if (passed == ',') return "a key in double quotes after ','";
    return parent.members.empty() ? "a key in double quotes or '}'" : "',' or '}'";
  }

  std::string found() const {
    if (cursor_.done()) return "the end of the file";
    Cursor end = cursor_;
    end.skip_token();
    const std::string_view token = text_.substr(cursor_.offset(), end.offset() - cursor_.offset());
    if (token[0] == '"') return in_quotes(token.substr(1, token.size() - 2));
    if (token[0] == '\0') return "a NUL character";
    return is_punctuation(token[0]) ? "'" + std::string(token) + "'" : in_quotes(token);
  }

  // The parser's reason, if the token itself is at fault; empty if it is in the wrong place. A word that is
  // no literal (a key without quotes, say) is better told as one in the wrong place.
  std::string malformed(std::string_view reason) const {
    if (reason.find("number overflow") != reason.npos) return "expected a smaller number, found " + found();
    const std::size_t begin = reason.find(" - invalid ");
    if (begin == reason.npos || reason.find(" - invalid literal") != reason.npos) return "";
    reason.remove_prefix(begin + std::string_view(" - ").size());
    reason = reason.substr(0, reason.find("; last read: "));
    const bool unclosed =
        reason.find("(LF)") != reason.npos || reason.find("missing closing quote") != reason.npos;
    return unclosed ? "expected a closing '\"' on the same line" : std::string(reason);
  }

  std::string_view text_;
  Cursor cursor_;
  Document document_;
  std::vector<Value*>
      open_;  // the lists and objects around the cursor; stable, as only the innermost one grows
  bool begun_ = false, after_key_ = false;
};

}  // namespace

const Value* Value::find(std::string_view key) const {
  for (const Member& member : members)
    if (member.key == key) return &member.value;
  return nullptr;
}

Document read_json(std::string_view text) {
  TreeBuilder builder(text);
  const bool parsed = nlohmann::json::sax_parse(text.begin(), text.end(), &builder,
                                                nlohmann::json::input_format_t::json, true, true);
  return builder.take(parsed);
}

std::string describe(const Value& value) {
  switch (value.kind) {
    case Value::Kind::string:
      return in_quotes(value.text);
    case Value::Kind::array:
      if (value.items.empty()) return "an empty list";
      return "a list of " + std::to_string(value.items.size());
    case Value::Kind::object:
      return value.members.empty() ? "an empty object" : "an object";
    default:
      return value.text.size() <= max_quoted ? value.text : value.text.substr(0, max_quoted) + "...";
  }
}

std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool starts_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (i >= max_quoted && starts_character) return out + "...\"";
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7F;
    out += control ? '?' : c;
  }
  return out + '"';
}

}  // namespace refork::config
