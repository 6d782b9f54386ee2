// The schema is the one source: its defaults are the program's, its keywords are understood, and the manual
// describes its keys and no others.
#include "config/schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>

#include "config/config.h"
#include "proto/redact.h"

namespace refork::config {
namespace {

using Kind = Value::Kind;

// As JSON, with one blank after commas.
std::string compact(const Value& value) {
  if (value.kind == Kind::string) return "\"" + value.text + "\"";
  if (value.kind == Kind::object) return "{}";  // the only default that is one
  if (value.kind != Kind::array) return value.text;
  std::string out = "[";
  for (const Value& item : value.items) out += (out.size() > 1 ? ", " : "") + compact(item);
  return out + "]";
}

// What the manual says of a key.
struct Said {
  std::string value;     // what it may be, in the words of the error for what it may not be
  std::string fallback;  // its default, if it has one
  friend bool operator==(const Said&, const Said&) = default;
};
void PrintTo(const Said& said, std::ostream* out) { *out << said.value << ", default " << said.fallback; }

// Keys as the manual names them: "workers", "restart.backoff", "store.max_age".
using Keys = std::map<std::string, Said>;

// The manual says once what a duration looks like.
std::string value_words(const Value& of) {
  static const std::regex example(" such as \"250ms\", \"10s\" or \"5m\"");
  return std::regex_replace(expectation(of), example, "");
}

void collect(const Value& from, const std::string& above, Keys& out) {
  for (const Value::Member& property : keyword(from, "properties")->members) {
    const std::string path = above + property.key;
    const Value* value = keyword(property.value, "default");
    const bool group = keyword(property.value, "properties") != nullptr;
    out[path] = {group ? "" : value_words(property.value), value ? compact(*value) : ""};
    if (group) collect(property.value, path + ".", out);
  }
}

Keys schema_keys() {
  Keys keys;
  collect(schema(), "", keys);
  collect(service_schema(), "", keys);
  return keys;
}

// "{"a": 1}" of the defaults below this schema.
std::string defaults_of(const Value& from) {
  std::string out;
  for (const Value::Member& property : keyword(from, "properties")->members) {
    const Value* value = keyword(property.value, "default");
    const std::string text = value                                   ? compact(*value)
                             : keyword(property.value, "properties") ? defaults_of(property.value)
                                                                     : "";
    if (!text.empty()) out += (out.empty() ? "" : ", ") + ("\"" + property.key + "\": " + text);
  }
  return "{" + out + "}";
}

TEST(ConfigSchema, ItsDefaultsAreTheProgramsOwn) {
  std::string service = defaults_of(service_schema());
  service.insert(1, "\"command\": [\"x\"], ");
  const std::string text = "{\"services\": {\"web\": " + service +
                           "}, \"store\": " + defaults_of(*keyword(schema(), "properties")->find("store")) +
                           "}";
  const Outcome outcome = parse(text, "defaults");
  ASSERT_TRUE(outcome.ok()) << outcome.problems[0].text() << "\n" << text;
  const core::ServiceConfig& given = outcome.config.services[0];
  const core::ServiceConfig own;
  EXPECT_EQ(given.workers, own.workers);
  EXPECT_EQ(given.floor, own.floor);
  EXPECT_EQ(given.ready, own.ready);
  EXPECT_EQ(given.listen, own.listen);
  EXPECT_EQ(given.nonblocking, own.nonblocking);
  EXPECT_EQ(given.environment, own.environment);
  EXPECT_EQ(given.limits.size(), own.limits.size());
  EXPECT_EQ(given.start_timeout, own.start_timeout);
  EXPECT_EQ(given.drain_deadline, own.drain_deadline);
  EXPECT_EQ(given.lame_duck, own.lame_duck);
  EXPECT_EQ(given.restart, own.restart);
  EXPECT_EQ(given.reload, own.reload);
  EXPECT_EQ(given.watchdog, own.watchdog);
  EXPECT_EQ(given.request_timeout, own.request_timeout);
  EXPECT_EQ(given.orphans, own.orphans);
  EXPECT_EQ(given.core_dumps, own.core_dumps);
  EXPECT_EQ(given.recycle, own.recycle);
  EXPECT_EQ(given.log, own.log);
  EXPECT_EQ(given.redact, own.redact);
  EXPECT_EQ(outcome.config.store.max_failures, core::StoreConfig().max_failures);
  EXPECT_EQ(outcome.config.store.max_age, core::StoreConfig().max_age);
}

// Calls `see` for this schema and every one inside it.
void walk(const Value& from, const std::function<void(const Value&)>& see) {
  if (from.kind != Kind::object) return;
  see(from);
  for (const char* map : {"properties", "$defs"})
    if (const Value* inner = from.find(map))
      for (const Value::Member& member : inner->members) walk(member.value, see);
  for (const char* list : {"prefixItems", "oneOf"})
    if (const Value* inner = from.find(list))
      for (const Value& item : inner->items) walk(item, see);
  for (const char* one : {"items", "additionalProperties", "propertyNames"})
    if (const Value* inner = from.find(one)) walk(*inner, see);
}

TEST(ConfigSchema, EveryKeywordInItIsUnderstood) {
  const std::set<std::string> understood = {"$schema",       "title",         "description",
                                            "$defs",         "$ref",          "type",
                                            "enum",          "oneOf",         "minimum",
                                            "maximum",       "minLength",     "maxLength",
                                            "pattern",       "items",         "prefixItems",
                                            "minItems",      "maxItems",      "properties",
                                            "required",      "default",       "additionalProperties",
                                            "propertyNames", "minProperties", "x-expected",
                                            "x-duration",    "x-size",        "x-value"};
  walk(schema(), [&](const Value& inner) {
    for (const Value::Member& member : inner.members)
      EXPECT_TRUE(understood.count(member.key)) << member.key << " at line " << member.at.line;
  });
}

TEST(ConfigSchema, EveryPatternHasALengthSoThatMatchingIsBounded) {
  walk(schema(), [](const Value& inner) {
    EXPECT_TRUE(!inner.find("pattern") || inner.find("maxLength")) << "line " << inner.at.line;
  });
}

TEST(ConfigSchema, EveryObjectSaysWhatElseItMayHoldAndEveryListWhatItHolds) {
  walk(schema(), [](const Value& inner) {
    EXPECT_TRUE(text_of(inner, "type") != "object" || keyword(inner, "additionalProperties"))
        << inner.at.line;
    EXPECT_TRUE(text_of(inner, "type") != "array" || keyword(inner, "items")) << inner.at.line;
  });
}

TEST(ConfigSchema, EveryReferenceHasATarget) {
  walk(schema(), [](const Value& inner) {
    EXPECT_TRUE(!inner.find("$ref") || keyword(inner, "type")) << inner.at.line;
  });
}

TEST(ConfigSchema, EveryKeyIsDescribed) {
  walk(schema(), [](const Value& inner) {
    const Value* properties = inner.find("properties");
    if (!properties) return;
    for (const Value::Member& property : properties->members)
      EXPECT_TRUE(property.value.find("description")) << property.key;
  });
}

// In the page each key is `.It Va KEY`; then `Value: WORDS.`, and its default, if it has one, as `Default:`
// and
// `.Ql VALUE .`.
Keys manual_keys() {
  std::ifstream page(std::string(REFORK_SOURCE_DIR) + "/man/refork.json.5");
  Keys keys;
  std::string line, key, before;
  while (std::getline(page, line)) {
    if (line.rfind(".It Va ", 0) == 0) {
      key = line.substr(7);
      keys[key] = {};
    } else if (line.rfind("Value: ", 0) == 0) {
      keys[key].value = line.substr(7, line.size() - 8);
    } else if (before == "Default:") {
      const std::size_t from = line.find(' ') + 1;
      keys[key].fallback =
          std::regex_replace(line.substr(from, line.rfind(' ') - from), std::regex("\\\\\\(dq"), "\"");
    }
    before = line;
  }
  return keys;
}

TEST(ConfigSchema, TheManualDescribesItsKeysTheirValuesAndDefaultsAndNoOthers) {
  EXPECT_EQ(manual_keys(), schema_keys());
}

TEST(ConfigSchema, TheManualNamesEveryLimit) {
  std::ifstream file(std::string(REFORK_SOURCE_DIR) + "/man/refork.json.5");
  std::string page{std::istreambuf_iterator<char>(file), {}};
  std::replace(page.begin(), page.end(), '\n', ' ');
  std::string names;
  const std::vector<Value>& limits =
      keyword(*keyword(*keyword(service_schema(), "properties")->find("limits"), "propertyNames"), "enum")
          ->items;
  for (const Value& limit : limits)
    names += (names.empty() ? "" : &limit == &limits.back() ? " or " : ", ") + limit.text;
  EXPECT_THAT(page, testing::HasSubstr(names));
}

TEST(ConfigSchema, WhatIsHiddenWithoutAWordIsNamedInTheHelpAndTheManual) {
  std::ifstream file(std::string(REFORK_SOURCE_DIR) + "/man/refork.json.5");
  std::string page{std::istreambuf_iterator<char>(file), {}};
  std::replace(page.begin(), page.end(), '\n', ' ');
  std::string names;
  for (const auto name : proto::Redactor::default_names())
    names += (names.empty() ? "" : name == "query" ? ", and " : ", ") + std::string(name);
  const Value* described = keyword(service_schema(), "properties")->find("redact");
  EXPECT_THAT(text_of(*described, "description"), testing::HasSubstr(names));
  EXPECT_THAT(page, testing::HasSubstr(names));
}

}  // namespace
}  // namespace refork::config
