#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace refork::config {

// Where a token begins, from 1. The column counts characters, not bytes.
struct Position {
  std::size_t line = 0, column = 0;
};

// A JSON value that remembers where it stood. Members keep their order, and duplicate keys are kept.
struct Value {
  enum class Kind {
    null,
    boolean,
    integer,  // a number without a fraction that fits an int64
    number,   // any other
    string,
    array,
    object
  };
  struct Member;

  Kind kind = Kind::null;
  Position at;
  bool boolean = false;
  std::int64_t integer = 0;
  std::string text;  // a string's characters, a number as it was written
  std::vector<Value> items;
  std::vector<Member> members;

  const Value* find(std::string_view key) const;  // the first of this name; only objects have any
};

struct Value::Member {
  std::string key;
  Position at;
  Value value;
};

// How deep lists and objects may be nested.
inline constexpr std::size_t max_depth = 32;

struct SyntaxError {
  Position at;
  std::string what;  // "expected ',' or '}', found \"workers\""
};

struct Document {
  Value root;
  std::optional<SyntaxError> error;
};

// JSON with // and /* */ comments.
Document read_json(std::string_view text);

// What a person calls this value: `"four"`, `4`, `an empty list`, `an object`.
std::string describe(const Value& value);

// In double quotes, on one line, shortened.
std::string in_quotes(std::string_view text);

}  // namespace refork::config
