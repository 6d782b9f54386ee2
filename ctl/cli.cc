// The command line of reforkctl: what may be said, and what it means. Does nothing of it.
#include "ctl/cli.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "ctl/text.h"
#include "refork/version.hpp"

namespace refork::ctl {

namespace {

constexpr const char* config_file = "/etc/refork/refork.json";

struct Verb {
  const char* name;
  const char* method;
  const char* target;
  const char* help;
};
constexpr std::array<Verb, 6> verbs = {{
    {"start", "Start", "SERVICE", "Start a service's workers"},
    {"stop", "Stop", "SERVICE", "Drain a service's workers; its sockets stay open"},
    {"restart", "Restart", "SERVICE", "Stop, then start"},
    {"reload", "Reload", "SERVICE", "Replace all workers by a new generation, losing no request"},
    {"drain", "Drain", "SERVICE/SLOT|ID", "Replace one worker, letting it finish its requests"},
    {"kill", "Kill", "SERVICE/SLOT|ID", "Kill one worker at once; it is replaced"},
}};

// What --kind takes; a test compares them with those of the records.
const std::vector<std::string> kinds = {"exception", "error", "signal", "terminate", "hang", "timeout",
                                        "deadline",  "oom",   "exit",   "protocol",  "boot", "handler"};

std::string all_kinds() {
  std::string text;
  for (const auto& kind : kinds) text += (text.empty() ? "" : ", ") + kind;
  return text;
}

std::string check_kind(const std::string& kind) {
  if (std::ranges::find(kinds, kind) != kinds.end()) return "";
  return "no kind \"" + escape(kind) + "\"; there are: " + all_kinds();
}

template <class T>
bool parse_number(std::string_view text, T& value) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() && !text.empty();
}

std::string check_workers(const std::string& text) {
  std::uint32_t number = 0;
  return parse_number(text, number) ? "" : "expected a number of workers, found \"" + escape(text) + "\"";
}

const char* const footer =
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the service is stopped, 4 access denied,\n"
    "5 no reforkd at the socket.";

void add_status(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand("status", "Show the services and their workers");
  sub->add_option("SERVICE", call.target, "Only this one; exit code 3 if it is stopped");
  sub->callback([&] { call.command = Command::status; });
}

void add_why(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand(
      "why", "What happened to a service or a slot, because of what, and what it waits for");
  sub->add_option("SERVICE[/SLOT]", call.target)->required();
  sub->callback([&] { call.command = Command::why; });
}

void add_failures(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand("failures", "List the recorded failures, newest first");
  sub->add_option("--service", call.filter.service, "Only of this service");
  sub->add_option("--kind", call.filter.kind, "Only of this kind: " + all_kinds())
      ->check(CLI::Validator(check_kind, ""));
  sub->add_option("--since", call.since,
                  "Only later ones: 10m, 2h, 3d (ago), \"2026-11-22 10:00\", @UNIXTIME");
  sub->add_option("-n,--limit", call.filter.limit, "At most this many")
      ->check(CLI::Range(1, 1000))
      ->default_val(50);
  sub->require_subcommand(0, 1);
  sub->callback([&, sub] {
    if (sub->get_subcommands().empty()) call.command = Command::failures_list;
  });
  sub->add_subcommand("list", "The same as `failures` alone")->callback([&] {
    call.command = Command::failures_list;
  });
  auto* show = sub->add_subcommand("show", "Show one record in full");
  show->add_option("ID", call.target, "Its id, or the beginning of it")->required();
  show->callback([&] { call.command = Command::failures_show; });
  sub->add_subcommand("top", "The same failures together, the most frequent first")->callback([&] {
    call.command = Command::failures_top;
  });
  auto* clear = sub->add_subcommand("clear", "Remove the records");
  clear->add_option("SERVICE", call.target, "Only those of this service");
  clear->callback([&] { call.command = Command::failures_clear; });
}

void add_operations(CLI::App& app, Invocation& call) {
  for (const auto& verb : verbs) {
    auto* sub = app.add_subcommand(verb.name, verb.help);
    sub->add_option(verb.target, call.operation.target)->required();
    sub->callback([&] { call.operation.verb = verb.method; });
  }
  auto* scale = app.add_subcommand("scale", "Change the number of a service's workers");
  scale->add_option("SERVICE", call.operation.target)->required();
  scale->add_option("N", call.operation.workers)->required()->check(CLI::Validator(check_workers, ""));
  scale->callback([&] { call.operation.verb = "Scale"; });
  auto* send = app.add_subcommand("send", "Send a message to a worker, or to all of a service");
  send->add_option("SERVICE|SERVICE/SLOT|ID", call.operation.target)->required();
  send->add_option("JSON", call.operation.json)->required();
  send->callback([&] { call.operation.verb = "Send"; });
}

void add_events(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand("events", "Show what happens, until Ctrl-C");
  sub->add_flag("-f,--follow")->description("Go on until Ctrl-C, as is the default");
  sub->add_option("-n", call.count, "Stop after this many")->check(CLI::PositiveNumber);
  sub->add_flag("--messages", call.messages, "Messages of the workers, too");
  sub->callback([&] { call.command = Command::events; });
}

void add_logs(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand("logs", "Show what a service's workers wrote, and its events");
  sub->add_option("SERVICE[/SLOT]", call.target)->required();
  sub->add_flag("-f,--follow", call.follow, "Go on until Ctrl-C with what comes");
  sub->add_option("-n,--lines", call.count, "The last ones, at most this many [50]");
  sub->add_option("--since", call.since,
                  "Only later ones: 10m, 2h, 3d (ago), \"2026-11-22 10:00\", @UNIXTIME");
  sub->callback([&] { call.command = Command::logs; });
}

void add_daemon_reexec(CLI::App& app, Invocation& call) {
  app.add_subcommand("daemon-reexec", "Execute reforkd anew, as after an upgrade; nothing else notices")
      ->callback([&] { call.command = Command::daemon_reexec; });
}

// The same to reforkd: whoever executes it anew has it read its configuration.
void add_daemon_reload(CLI::App& app, Invocation& call) {
  app.add_subcommand("daemon-reload",
                     "Read the configuration again: what has changed in it is started, stopped, reloaded")
      ->callback([&] { call.command = Command::daemon_reexec; });
}

void add_check_config(CLI::App& app, Invocation& call) {
  auto* sub = app.add_subcommand("check-config", "Check a configuration; needs no reforkd");
  sub->add_option("FILE", call.target, "refork.json")->default_str(config_file);
  sub->callback([&] {
    call.command = Command::check_config;
    if (call.target.empty()) call.target = config_file;
  });
}

void add_globals(CLI::App& app, Invocation& call) {
  app.add_option("--control", call.control, "Socket of reforkd [$REFORK_CONTROL, /run/refork/control]");
  app.add_flag("--json", call.json, "JSON instead of text");
  app.add_flag(
      "--no-block", [&](std::int64_t) { call.operation.wait = false; }, "Do not wait until it is done");
  app.add_flag("--no-color", call.no_color, "No colours, even on a terminal");
  app.set_version_flag("--version", std::string("reforkctl ") + REFORK_VERSION);
}

// The first word that is no option is the command: what is said where there is none of that name.
std::optional<std::string> unknown_command(const CLI::App& app, int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--control") ++i;
    if (word.starts_with("-")) continue;
    std::string names;
    for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
      if (sub->get_name() == word) return std::nullopt;
      names += (names.empty() ? "" : ", ") + sub->get_name();
    }
    return "reforkctl: unknown command \"" + escape(word) + "\"; there are: " + names + "\n";
  }
  return std::nullopt;
}

// Of the command that was begun: "reforkctl failures show --help".
std::string help_of(const CLI::App& app) {
  const auto begun = app.get_subcommands();
  return app.get_name() + " " + (begun.empty() ? "--help" : help_of(*begun.front()));
}

}  // namespace

std::variant<Invocation, Farewell> parse_command_line(int argc, const char* const* argv) {
  Invocation call;
  CLI::App app("Operates reforkd: shows its services, workers and failures, and tells it what to do.",
               "reforkctl");
  app.footer(footer);
  app.require_subcommand(1, 1);
  app.fallthrough();
  add_globals(app, call);
  add_status(app, call);
  add_why(app, call);
  add_failures(app, call);
  add_operations(app, call);
  add_events(app, call);
  add_logs(app, call);
  add_daemon_reload(app, call);
  add_daemon_reexec(app, call);
  add_check_config(app, call);
  if (const auto unknown = unknown_command(app, argc, argv)) return Farewell{Exit::usage, *unknown};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& outcome) {
    std::ostringstream out, err;
    const bool asked = app.exit(outcome, out, err) == 0;
    if (asked) return Farewell{Exit::ok, out.str()};
    if (app.get_subcommands().empty() && outcome.get_name() == "RequiredError")
      return Farewell{Exit::usage,
                      "reforkctl: expected a command, such as status, why or failures\n"
                      "Try reforkctl --help\n"};
    return Farewell{Exit::usage,
                    "reforkctl: " + std::string(outcome.what()) + "\nTry " + help_of(app) + "\n"};
  }
  call.name = app.get_subcommands().front()->get_name();
  if (!call.operation.verb.empty()) call.command = Command::operate;
  return call;
}

std::string default_control() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  const std::string system = "/run/refork/control";
  if (const std::string control = variable("REFORK_CONTROL"); !control.empty()) return control;
  if (::geteuid() == 0) return system;
  const std::string runtime = variable("XDG_RUNTIME_DIR");
  const std::string own =
      (runtime.empty() ? "/run/user/" + std::to_string(::geteuid()) : runtime) + "/refork/control";
  return ::access(own.c_str(), F_OK) < 0 && ::access(system.c_str(), F_OK) == 0 ? system : own;
}

base::Result<std::uint64_t> parse_since(const std::string& text, std::uint64_t now_ms) {
  std::uint64_t number = 0;
  if (text.starts_with("@") && parse_number(std::string_view(text).substr(1), number)) return number * 1000;
  static constexpr std::array<std::pair<char, std::uint64_t>, 4> units = {
      {{'s', 1000}, {'m', 60'000}, {'h', 3'600'000}, {'d', 86'400'000}}};
  for (const auto& [unit, length] : units)
    if (text.ends_with(unit) && parse_number(std::string_view(text).substr(0, text.size() - 1), number) &&
        number <= now_ms / length)
      return now_ms - number * length;
  for (const char* pattern : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    std::tm parts{};
    parts.tm_isdst = -1;
    const char* end = ::strptime(text.c_str(), pattern, &parts);
    if (!end || *end != '\0') continue;
    const auto seconds = std::mktime(&parts);
    if (seconds >= 0) return static_cast<std::uint64_t>(seconds) * 1000;
  }
  return base::Error{EINVAL,
                     "--since " + text + ": expected 10m, 2h or 3d (ago), \"2026-11-22 10:00\" or @UNIXTIME"};
}

}  // namespace refork::ctl
