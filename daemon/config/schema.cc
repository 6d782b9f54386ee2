// The schema as a value: how its keywords are found and said in words.
#include "config/schema.h"

#include <cstdlib>
#include <stdexcept>

namespace refork::config {
namespace {

constexpr std::string_view definitions = "#/$defs/";

std::string integer_words(const Value& schema) {
  const Value* minimum = keyword(schema, "minimum");
  const Value* maximum = keyword(schema, "maximum");
  if (minimum && maximum) return "a whole number from " + minimum->text + " to " + maximum->text;
  return minimum ? "a whole number of at least " + minimum->text : "a whole number";
}

std::string enum_words(const std::vector<Value>& choices) {
  std::string out;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += i + 1 == choices.size() ? " or " : ", ";
    out += describe(choices[i]);
  }
  return out;
}

std::string type_words(std::string_view type) {
  if (type == "boolean") return "true or false";
  if (type == "array") return "a list";
  if (type == "object") return "an object";
  return "a string";
}

Value parse_schema() {
  Document document = read_json(schema_text);
  // The text is part of the program: a mistake in it is one of the build, and
  // tests/unit/config_schema_test.cc sees it.
  if (document.error) throw std::logic_error("refork.schema.json: " + document.error->what);
  return std::move(document.root);
}

}  // namespace

const Value& schema() {
  static const Value root = parse_schema();
  return root;
}

const Value& service_schema() { return *schema().find("$defs")->find("service"); }

const Value* keyword(const Value& from, std::string_view name) {
  if (const Value* own = from.find(name)) return own;
  const Value* reference = from.find("$ref");
  if (!reference) return nullptr;
  const Value* target = schema().find("$defs")->find(reference->text.substr(definitions.size()));
  return target ? target->find(name) : nullptr;
}

std::string_view text_of(const Value& from, std::string_view name) {
  const Value* value = keyword(from, name);
  return value ? std::string_view(value->text) : std::string_view();
}

std::vector<std::string> property_names(const Value& from) {
  std::vector<std::string> names;
  if (const Value* properties = keyword(from, "properties"))
    for (const Value::Member& property : properties->members) names.push_back(property.key);
  return names;
}

std::string expectation(const Value& from) {
  std::string words(text_of(from, "x-expected"));
  if (const Value* bounds = keyword(from, "x-duration"))
    words += " from " + bounds->items[0].text + " to " + bounds->items[1].text;
  if (!words.empty()) return words;
  if (const Value* choices = keyword(from, "enum")) return enum_words(choices->items);
  const std::string_view type = text_of(from, "type");
  return type == "integer" ? integer_words(from) : type_words(type);
}

}  // namespace refork::config
