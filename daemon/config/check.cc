// An interpreter of the part of JSON Schema that refork.schema.json uses: type, enum, minimum, maximum,
// minLength, maxLength, pattern, oneOf, items, prefixItems, minItems, maxItems, properties,
// additionalProperties, propertyNames, required, minProperties, $ref; and of its own x-duration and x-size,
// the bounds of a duration and of a size. Not a general validator: a test refuses keywords in the schema that
// are not understood here.
#include "config/check.h"

#include <algorithm>
#include <map>
#include <regex>

#include "config/config.h"
#include "config/schema.h"

namespace refork::config {
namespace {

using Kind = Value::Kind;

bool has_type(const Value& value, std::string_view type) {
  switch (value.kind) {
    case Kind::null:
      return type == "null";
    case Kind::boolean:
      return type == "boolean";
    case Kind::integer:
      return type == "integer" || type == "number";
    case Kind::number:
      return type == "number";
    case Kind::string:
      return type == "string";
    case Kind::array:
      return type == "array";
    case Kind::object:
      return type == "object";
  }
  return false;
}

bool is_among(const Value& value, const std::vector<Value>& choices) {
  return std::any_of(choices.begin(), choices.end(), [&](const Value& choice) {
    return choice.kind == value.kind && choice.text == value.text;
  });
}

// Whether `size` keeps the bounds of these two keywords.
bool within(std::int64_t size, const Value& schema, std::string_view minimum, std::string_view maximum) {
  const Value* least = keyword(schema, minimum);
  const Value* most = keyword(schema, maximum);
  return (!least || size >= least->integer) && (!most || size <= most->integer);
}

// Whether what `parse` makes of it keeps the bounds of this keyword, if the schema has it.
template <class Parse>
bool within_bounds(const std::string& text, const Value& schema, std::string_view name, Parse parse) {
  const Value* bounds = keyword(schema, name);
  if (!bounds) return true;
  const auto value = parse(text);
  return value && *value >= *parse(bounds->items[0].text) && *value <= *parse(bounds->items[1].text);
}

// The schema has a handful of patterns; each is compiled once.
const std::regex& compiled(const std::string& pattern) {
  thread_local std::map<std::string, std::regex> patterns;
  const auto known = patterns.find(pattern);
  return known != patterns.end() ? known->second : patterns.emplace(pattern, pattern).first->second;
}

// The length first: it bounds what the pattern has to look at.
bool text_fits(const std::string& text, const Value& schema) {
  if (text.find('\0') != text.npos) return false;  // no argument, path or name can hold one
  if (!within(static_cast<std::int64_t>(text.size()), schema, "minLength", "maxLength")) return false;
  const Value* pattern = keyword(schema, "pattern");
  if (pattern && !std::regex_search(text, compiled(pattern->text))) return false;
  return within_bounds(text, schema, "x-duration", parse_duration) &&
         within_bounds(text, schema, "x-size", parse_size);
}

// The value itself, without what it contains.
bool fits(const Value& value, const Value& schema) {
  const std::string_view type = text_of(schema, "type");
  if (!type.empty() && !has_type(value, type)) return false;
  if (const Value* choices = keyword(schema, "enum"); choices && !is_among(value, choices->items))
    return false;
  switch (value.kind) {
    case Kind::integer:
      return within(value.integer, schema, "minimum", "maximum");
    case Kind::string:
      return text_fits(value.text, schema);
    case Kind::array:
      return within(static_cast<std::int64_t>(value.items.size()), schema, "minItems", "maxItems");
    case Kind::object:
      return within(static_cast<std::int64_t>(value.members.size()), schema, "minProperties",
                    "maxProperties");
    default:
      return true;
  }
}

bool fits_one_of(const Value& value, const std::vector<Value>& alternatives) {
  return std::any_of(alternatives.begin(), alternatives.end(),
                     [&](const Value& alternative) { return fits(value, alternative); });
}

class Checker {
 public:
  explicit Checker(ProblemList& problems) : problems_(problems) {}

  void check_value(const Value& value, const Value& schema, const std::string& path) {
    const Value* alternatives = keyword(schema, "oneOf");
    if (!fits(value, schema) || (alternatives && !fits_one_of(value, alternatives->items)))
      problems_.add(value.at, path, "expected " + expectation(schema) + ", found " + found(value));
    else if (value.kind == Kind::array)
      check_items(value, schema, path);
    else if (value.kind == Kind::object)
      check_members(value, schema, path);
  }

 private:
  static std::string found(const Value& value) {
    const bool nul = value.kind == Kind::string && value.text.find('\0') != std::string::npos;
    return nul ? "a string with a NUL character" : describe(value);
  }

  void check_items(const Value& list, const Value& schema, const std::string& path) {
    const Value* each = keyword(schema, "items");
    const Value* first = keyword(schema, "prefixItems");
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      const bool named = first && i < first->items.size();
      check_value(list.items[i], named ? first->items[i] : *each, path + "[" + std::to_string(i) + "]");
    }
  }

  void check_members(const Value& object, const Value& schema, const std::string& path) {
    check_required(object, schema, path);
    std::map<std::string_view, Position> seen;
    for (const Value::Member& member : object.members) {
      const auto [before, fresh] = seen.emplace(member.key, member.at);
      if (!fresh)
        problems_.add(member.at, path, "duplicate key " + in_quotes(member.key) + told_first(before->second));
      check_member(member, schema, path);
    }
  }

  static std::string told_first(Position at) {
    return at.line > 0 && at.column > 0 ? "; the first one is at line " + std::to_string(at.line) : "";
  }

  void check_required(const Value& object, const Value& schema, const std::string& path) {
    const Value* required = keyword(schema, "required");
    if (!required) return;
    for (const Value& key : required->items) {
      if (object.find(key.text)) continue;
      const Value& missing = *keyword(schema, "properties")->find(key.text);
      problems_.add(object.at, path,
                    "missing key " + in_quotes(key.text) + "; expected " + expectation(missing));
    }
  }

  void check_member(const Value::Member& member, const Value& schema, const std::string& path) {
    if (const Value* names = keyword(schema, "propertyNames")) check_name(member, *names, path);
    const Value* properties = keyword(schema, "properties");
    if (const Value* known = properties ? properties->find(member.key) : nullptr)
      return check_value(member.value, *known, join(path, member.key));
    const Value* others = keyword(schema, "additionalProperties");
    if (others->kind == Kind::object) return check_value(member.value, *others, join(path, member.key));
    unknown_key(member, schema, path);
  }

  void check_name(const Value::Member& member, const Value& names, const std::string& path) {
    Value name;
    name.kind = Kind::string;
    name.text = member.key;
    name.at = member.at;
    if (!fits(name, names))
      problems_.add(name.at, path, "expected " + expectation(names) + ", found " + found(name));
  }

  void unknown_key(const Value::Member& member, const Value& schema, const std::string& path) {
    const std::vector<std::string> known = property_names(schema);
    const std::string meant = nearest(member.key, known);
    std::string what = "unknown key " + in_quotes(member.key);
    if (!meant.empty()) {
      what += "; did you mean \"" + meant + "\"?";
    } else {
      what += "; known are ";
      for (const std::string& key : known) what += (key == known.front() ? "" : ", ") + key;
    }
    problems_.add(member.at, path, std::move(what));
  }

  ProblemList& problems_;
};

}  // namespace

void check(const Value& value, const Value& schema, const std::string& path, ProblemList& problems) {
  Checker(problems).check_value(value, schema, path);
}

}  // namespace refork::config
