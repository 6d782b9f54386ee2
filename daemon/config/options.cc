// The keys of a service as options of `reforkd run`. The options are made into the same values a file would
// have, so that the same checks hold; a value's position is the number of the option it came from, which is
// then named in its problem.
#include <algorithm>
#include <charconv>

#include "config/build.h"
#include "config/check.h"
#include "config/config.h"
#include "config/problems.h"
#include "config/schema.h"

namespace refork::config {
namespace {

using Kind = Value::Kind;

// Where an option's value goes, by its schema.
enum class Shape {
  scalar,
  list,  // one item an option
  pair,  // "A,B"
  map    // one "NAME=VALUE" an option
};

struct Target {
  std::string name;               // "restart-give-up"
  std::string spelling;           // "restart-give_up"
  std::vector<std::string> path;  // {"restart", "give_up"}
  const Value* schema = nullptr;
  Shape shape = Shape::scalar;
};

std::string dashed(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

Shape shape_of(const Value& schema) {
  const std::string_view type = text_of(schema, "type");
  if (type == "object") return Shape::map;
  if (type != "array") return Shape::scalar;
  return keyword(schema, "prefixItems") ? Shape::pair : Shape::list;
}

void collect(const Value& schema, const std::vector<std::string>& above, std::vector<Target>& out) {
  for (const Value::Member& property : keyword(schema, "properties")->members) {
    if (above.empty() && property.key == "command") continue;  // what stands behind --
    std::vector<std::string> path = above;
    path.push_back(property.key);
    if (keyword(property.value, "properties")) {
      collect(property.value, path, out);
      continue;
    }
    std::string spelling;
    for (const std::string& step : path) spelling += (spelling.empty() ? "" : "-") + step;
    out.push_back({dashed(spelling), spelling, path, &property.value, shape_of(property.value)});
  }
}

const std::vector<Target>& targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> out;
    collect(service_schema(), {}, out);
    return out;
  }();
  return all;
}

std::string value_words(const Target& target) {
  if (const std::string_view words = text_of(*target.schema, "x-value"); !words.empty())
    return std::string(words);
  if (const Value* choices = keyword(*target.schema, "enum")) {
    std::string out;
    for (const Value& choice : choices->items) out += (out.empty() ? "" : "|") + choice.text;
    return out;
  }
  return text_of(*target.schema, "type") == "boolean" ? "true|false" : "N";
}

std::string default_words(const Value& schema) {
  const Value* value = keyword(schema, "default");
  if (!value) return "";
  if (value->kind != Kind::array) return value->text;
  std::string out;
  for (const Value& item : value->items) out += (out.empty() ? "" : ",") + item.text;
  return out;
}

Value string_value(std::string_view text, Position at) {
  Value value;
  value.kind = Kind::string;
  value.text = text;
  value.at = at;
  return value;
}

Value object_value(Position at) {
  Value value;
  value.kind = Kind::object;
  value.at = at;
  return value;
}

bool takes(const Value& schema, std::string_view type) {
  if (text_of(schema, "type") == type) return true;
  const Value* alternatives = keyword(schema, "oneOf");
  return alternatives && std::any_of(alternatives->items.begin(), alternatives->items.end(),
                                     [&](const Value& alternative) { return takes(alternative, type); });
}

// A word of the command line as what its schema asks for; what it cannot be stays a string, for the check to
// refuse.
Value scalar_value(std::string_view text, const Value& schema, Position at) {
  Value value = string_value(text, at);
  const char* end = text.data() + text.size();
  if (takes(schema, "integer")) {
    if (const auto [stop, failed] = std::from_chars(text.data(), end, value.integer);
        failed == std::errc() && stop == end)
      value.kind = Kind::integer;
  } else if (takes(schema, "boolean") && (text == "true" || text == "false")) {
    value.kind = Kind::boolean;
    value.boolean = text == "true";
  }
  return value;
}

Value pair_value(std::string_view text, const Value& schema, Position at) {
  const std::vector<Value>& parts = keyword(schema, "prefixItems")->items;
  Value list;
  list.kind = Kind::array;
  list.at = at;
  for (;;) {
    const Value& part = parts[std::min(list.items.size(), parts.size() - 1)];
    const std::size_t comma = text.find(',');
    list.items.push_back(scalar_value(text.substr(0, comma), part, at));
    if (comma == text.npos) return list;
    text.remove_prefix(comma + 1);
  }
}

class Reader {
 public:
  Reader(const std::vector<Option>& options, ProblemList& problems)
      : options_(options), problems_(problems) {}

  Value service() {
    Value service = object_value({});
    for (std::size_t i = 0; i < options_.size(); ++i) {
      const Position at{i + 1, 0};
      if (const Target* target = find(options_[i].name))
        put(*target, options_[i].value, at, service);
      else
        problems_.add(at, "", unknown(options_[i].name));
    }
    return service;
  }

 private:
  static const Target* find(const std::string& name) {
    for (const Target& target : targets())
      if (target.name == dashed(name)) return &target;
    return nullptr;
  }

  static std::string unknown(const std::string& name) {
    std::vector<std::string> known;
    for (const Target& target : targets()) known.push_back(target.name);
    const std::string meant = nearest(dashed(name), known);
    return meant.empty() ? "unknown option" : "unknown option; did you mean --" + meant + "?";
  }

  // The member at the target's path, made where it is missing.
  static Value& slot(const Target& target, Position at, Value& service) {
    Value* value = &service;
    for (const std::string& step : target.path) {
      if (!value->find(step)) {
        value->kind = Kind::object;
        value->members.push_back({step, at, {}});
      }
      const auto same = [&](const Value::Member& member) { return member.key == step; };
      value = &std::find_if(value->members.begin(), value->members.end(), same)->value;
    }
    return *value;
  }

  void put(const Target& target, const std::string& text, Position at, Value& service) {
    Value& value = slot(target, at, service);
    const bool again = value.at.line > 0;
    if (!again) value.at = at;
    switch (target.shape) {
      case Shape::list:
        value.kind = Kind::array;
        value.items.push_back(scalar_value(text, *keyword(*target.schema, "items"), at));
        return;
      case Shape::map:
        value.kind = Kind::object;
        return put_named(target, text, at, value);
      case Shape::pair:
      case Shape::scalar:
        if (again) return problems_.add(at, "", "expected only once");
        value = target.shape == Shape::pair ? pair_value(text, *target.schema, at)
                                            : scalar_value(text, *target.schema, at);
    }
  }

  void put_named(const Target& target, const std::string& text, Position at, Value& map) {
    const std::size_t equals = text.find('=');
    if (equals == text.npos)
      return problems_.add(at, "", "expected " + value_words(target) + ", found " + in_quotes(text));
    const Value& schema = *keyword(*target.schema, "additionalProperties");
    map.members.push_back({text.substr(0, equals), at, scalar_value(text.substr(equals + 1), schema, at)});
  }

  const std::vector<Option>& options_;
  ProblemList& problems_;
};

}  // namespace

Outcome from_options(const std::string& service, const std::vector<Option>& options,
                     const std::vector<std::string>& command) {
  const Position name_at{options.size() + 1, 0}, command_at{options.size() + 2, 0};
  ProblemList problems("");
  Value described = Reader(options, problems).service();
  Value words;
  words.kind = Kind::array;
  words.at = command_at;
  for (const std::string& word : command) words.items.push_back(string_value(word, command_at));
  described.members.push_back({"command", command_at, std::move(words)});
  Value services = object_value({});
  services.members.push_back({service, name_at, std::move(described)});
  Value root = object_value({});
  root.members.push_back({"services", {}, std::move(services)});

  check(root, schema(), "", problems);
  Outcome outcome;
  outcome.config = build(root, problems);
  outcome.problems = problems.take();
  for (Problem& problem : outcome.problems) {
    const std::size_t option = problem.line - 1;
    problem.file = option < options.size()    ? "--" + options[option].name
                   : option == options.size() ? "--name"
                                              : "COMMAND";
    problem.line = 0;
    problem.path.clear();
  }
  return outcome;
}

std::vector<OptionHelp> option_names() {
  std::vector<OptionHelp> out;
  for (const Target& target : targets()) {
    const bool repeats = target.shape == Shape::list || target.shape == Shape::map;
    const std::string alias = target.spelling == target.name ? "" : target.spelling;
    const std::string help(text_of(*target.schema, "description"));
    out.push_back({target.name, alias, value_words(target), help, default_words(*target.schema), repeats});
  }
  return out;
}

}  // namespace refork::config
