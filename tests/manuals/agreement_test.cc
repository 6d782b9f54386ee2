// What the manual pages say of commands, options, exit codes and JSON, against what the programs do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "config/config.h"
#include "ctl/json.h"
#include "e2e/scene.h"
#include "manuals/manual.h"
#include "proto/record.h"

namespace refork::test {
namespace {

using nlohmann::json;
using Names = std::set<std::string>;

Names all_matches(const std::string& text, const std::regex& wanted) {
  Names names;
  for (std::sregex_iterator it(text.begin(), text.end(), wanted), end; it != end; ++it)
    names.insert((*it)[1].str());
  return names;
}

Names without(Names names, const Names& others) {
  for (const auto& other : others) names.erase(other);
  return names;
}

Names both(Names names, const Names& others) {
  names.insert(others.begin(), others.end());
  return names;
}

std::string help(const std::string& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), built_program(program));
  arguments.emplace_back("--help");
  Process process({std::move(arguments), {}, {}, {}, {}, {}});
  const auto exit = process.wait();
  EXPECT_TRUE(exit && exit->code == 0) << process.errors();
  return process.output();
}

// Of a help text: "  -n,--limit UINT", "  --no-keeper".
Names options_in(const std::string& help) {
  static const std::regex line("\n  (-[^ ]+)"), name("(--?[A-Za-z][a-z-]*)");
  std::string all;
  for (const auto& names : all_matches(help, line)) all += names + ' ';
  return all_matches(all, name);
}

Names subcommands_in(const std::string& help) {
  static const std::regex line("\n  ([a-z][a-z-]*)  ");
  const auto from = help.find("\nSubcommands:");
  return from == help.npos ? Names() : all_matches(help.substr(from), line);
}

// Of a page's source: "Fl Fl limit", "Fl n".
Names flags_in(const std::string& source) {
  static const std::regex letter("\\bFl ([A-Za-z])(?![a-z])"), word("\\bFl Fl ([a-z][a-z-]*)");
  Names names;
  for (const auto& one : all_matches(source, letter)) names.insert('-' + one);
  for (const auto& one : all_matches(source, word)) names.insert("--" + one);
  return names;
}

std::string section(const Manual& page, const std::string& heading) {
  const auto from = page.text.find("\n.S" + heading + '\n');
  EXPECT_NE(from, page.text.npos) << page.name << ": " << heading;
  if (from == page.text.npos) return {};
  const auto next = heading[0] == 'h' ? std::string("\n.Sh ") : std::string("\n.S");
  return page.text.substr(from, page.text.find(next, from + heading.size()) - from);
}

// The items of COMMANDS, those of one command together: "failures" -> the text of all that begin with it.
std::map<std::string, std::string> commands_of(const Manual& page) {
  std::map<std::string, std::string> commands;
  std::istringstream in(section(page, "h COMMANDS"));
  std::string command;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(".It Cm ")) command = line.substr(7, line.find(' ', 7) - 7);
    if (!command.empty()) commands[command] += line + '\n';
  }
  return commands;
}

Names keys(const std::map<std::string, std::string>& map) {
  Names names;
  for (const auto& [key, value] : map) names.insert(key);
  return names;
}

TEST(ReforkctlManual, HasTheCommandsOfTheHelpAndTheirOptionsAndNoOthers) {
  const auto commands = commands_of(read_manual("reforkctl.1"));
  const std::string global = help("reforkctl", {});
  EXPECT_EQ(keys(commands), subcommands_in(global));
  for (const auto& [command, text] : commands)
    EXPECT_EQ(without(flags_in(text), options_in(global)),
              without(options_in(help("reforkctl", {command})), {"-h", "--help"}))
        << command;
}

TEST(ReforkctlManual, HasTheGlobalOptionsOfTheHelp) {
  const Manual page = read_manual("reforkctl.1");
  EXPECT_EQ(flags_in(section(page, "h DESCRIPTION")), options_in(help("reforkctl", {})));
}

TEST(ReforkctlManual, HasTheSubcommandsOfFailures) {
  static const std::regex second("\n\\.It Cm failures (?:Oo Cm )?([a-z]+)");
  EXPECT_EQ(all_matches('\n' + commands_of(read_manual("reforkctl.1")).at("failures"), second),
            subcommands_in(help("reforkctl", {"failures"})));
}

TEST(ReforkctlManual, HasTheExitCodesOfTheHelp) {
  static const std::regex item("\n\\.It ([0-9]+)"), code("([0-9]+) [a-z]");
  const std::string text = help("reforkctl", {});
  EXPECT_EQ(all_matches(section(read_manual("reforkctl.1"), "h EXIT STATUS"), item),
            all_matches(text.substr(text.find("Exit codes:")), code));
}

TEST(ReforkdManual, HasTheOptionsOfTheHelp) {
  Names keys_of_a_service;
  for (const auto& option : config::option_names()) keys_of_a_service.insert("--" + option.name);
  const Names known = both(options_in(help("reforkd", {})), options_in(help("reforkd", {"run"})));
  // What else it names are keys of a service, as examples.
  EXPECT_EQ(without(flags_in(read_manual("reforkd.8").text), keys_of_a_service),
            without(known, keys_of_a_service));
  EXPECT_THAT(known, testing::IsSupersetOf(keys_of_a_service));
}

TEST(Help, IsWrittenForPeople) {
  for (const auto& text : {help("reforkd", {}), help("reforkd", {"run"}), help("reforkctl", {})})
    EXPECT_THAT(text, testing::Not(testing::HasSubstr("{false}")));
  for (const char* example : {"examples/http_asio", "examples/http_threads", "examples/http_libevent"})
    EXPECT_THAT(help(example, {}), testing::HasSubstr("/hang (never answers)")) << example;
}

TEST(SymbolizerManual, HasTheOptionsOfTheHelp) {
  static const std::regex option("(--[a-z-]+)");
  EXPECT_EQ(flags_in(read_manual("refork-symbolizer.8").text),
            all_matches(help("refork-symbolizer", {}), option));
}

// --- JSON

// Where its values are: "services[].workers[].id". A frame is described once, and what an object of the
// application's own keys has is nobody's to describe.
void collect(const json& value, const std::string& path, Names& out) {
  static const std::regex in_frame("^.*stack\\[\\]\\.");
  const bool own_keys = path == "context" || path == "build_ids" || path == "where" || path == "message";
  if (value.is_object() && !own_keys) {
    for (const auto& [key, inner] : value.items()) collect(inner, path.empty() ? key : path + '.' + key, out);
  } else if (value.is_array() && !value.empty() && (value[0].is_object() || value[0].is_string())) {
    if (path.ends_with("stack") || value[0].is_string() || path == "workers") out.insert(path + "[]");
    if (value[0].is_object() && path != "workers") collect(value[0], path + "[]", out);
  } else {
    out.insert(std::regex_replace(path, in_frame, "stack[]."));
  }
}

Names fields(const std::string& text) {
  Names names;
  const json value = json::parse(text);
  collect(value.is_array() ? value.at(0) : value, "", names);
  return names;
}

Names described(const std::string& command) {
  static const std::regex item("\n\\.It Va ([^\n]+)"), name("([^ ,]+)");
  Names names;
  for (const auto& line : all_matches(section(read_manual("reforkctl.1"), "s " + command), item))
    names.merge(all_matches(line, name));
  return names;
}

TEST(ReforkctlManual, DescribesTheJsonOfStatus) {
  ctl::Status status;
  status.services.emplace_back();
  status.services[0].listen = {"tcp://127.0.0.1:1"};
  status.services[0].workers.emplace_back();
  Names names = fields(ctl::status_json(status));
  names.erase("services[].listen[]");
  names.insert("services[].listen");
  EXPECT_EQ(described("status"), names);
}

TEST(ReforkctlManual, DescribesTheJsonOfWhy) {
  ctl::Why why;
  why.service.workers.emplace_back();
  why.conditions.emplace_back();
  why.history.emplace_back();
  EXPECT_EQ(described("why"), fields(ctl::why_json(why)));
}

// A record with everything.
json full_record() {
  proto::FailureRecord record;
  const std::vector<proto::Frame> stack(1);
  record.causes.emplace_back();
  record.domains = {"http"};
  record.request.emplace();
  record.stack = stack;
  record.fault.emplace();
  record.threads.push_back({1, "", "", stack});
  proto::Outcome outcome;
  outcome.cut.push_back({"", 0, stack});
  json full = json::parse(proto::encode(record));
  full["drain"] = json::parse(proto::encode_drain(outcome));
  full["exit"] = json::parse(proto::encode_exit(outcome));
  return full;
}

TEST(ReforkctlManual, DescribesTheJsonOfFailures) {
  const Daemon daemon = web_of(built_program("tests/manuals/librefork_example"));
  EXPECT_EQ(http_get(daemon.address(), "/user/x").status, 500);
  json full = full_record();
  const json stored = complete_failures(daemon, 1);
  for (const auto& [key, value] : stored.at(0).items())
    if (!full.contains(key)) full[key] = value;  // what the store adds
  EXPECT_EQ(described("failures and failures show"), fields(full.dump()));

  const json top = daemon.json({"failures", "top"});
  EXPECT_EQ(described("failures top"), fields(top.dump()));
}

TEST(ReforkctlManual, DescribesTheJsonOfEvents) {
  EXPECT_EQ(described("events"), both(fields(ctl::event_json({})), fields(ctl::message_json(1, "{}"))));
}

TEST(ReforkctlManual, DescribesTheJsonOfCheckConfig) {
  Process process({{built_program("reforkctl"), "--json", "check-config", "/nowhere"}, {}, {}, {}, {}, {}});
  ASSERT_TRUE(process.wait());
  EXPECT_EQ(described("check-config"), fields(process.output()));
}

}  // namespace
}  // namespace refork::test
