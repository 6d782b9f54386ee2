// reforkd --config FILE, and reforkd run [OPTION...] -- COMMAND [ARG...]: every key of a service is an
// option, by the schema.
#include "command_line.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <iostream>
#include <map>
#include <optional>
#include <sstream>
#include <string_view>
#include <vector>

#include "os/paths.h"
#include "refork/version.hpp"

namespace refork {

namespace {

constexpr const char* examples =
    "\nExamples:\n"
    "  reforkd --config /etc/refork/refork.json\n"
    "  reforkd run --workers 4 --listen tcp://127.0.0.1:8080 -- /usr/lib/web/server\n"
    "\nreforkctl(1) talks to it; refork.json(5) has every key.";

// The options of `run` and what was given for them.
struct RunOptions {
  std::string name = "web";
  std::vector<std::string> command;
  std::map<std::string, std::vector<std::string>> values;

  void add_to(CLI::App& run) {
    run.add_option("--name", name, "name of the service")->capture_default_str()->type_name("NAME");
    for (const auto& option : config::option_names()) {
      auto* added =
          run.add_option("--" + option.name, values[option.name], option.help)->type_name(option.value);
      added->expected(1)->allow_extra_args(false)->default_str(option.fallback);
      if (option.repeats)
        added->take_all();
      else
        added->take_last();
    }
    run.add_option("command", command, "what a worker runs, after --")->required()->type_name("COMMAND");
  }

  config::Outcome config() const {
    std::vector<config::Option> given;
    for (const auto& [option, all] : values)
      for (const auto& value : all) given.push_back({option, value});
    return config::from_options(name, given, command);
  }
};

// An option by no known name, before the command's own begin; said here because a wrong one would have its
// value taken for the command.
std::optional<std::string> unknown_option(const CLI::App& app, const CLI::App& run, int argc, char** argv) {
  bool running = false;
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    const std::string word = argv[i];
    running = running || word == "run";
    if (!word.starts_with("--")) continue;
    const std::string name = word.substr(0, word.find('='));
    const bool of_run = run.get_option_no_throw(name) != nullptr;
    if (running ? of_run : app.get_option_no_throw(name) != nullptr) continue;
    if (of_run) return name + " is an option of run: reforkd run " + name + " ... -- COMMAND";
    return "unknown option " + name + "; see reforkd " + (running ? "run " : "") + "--help";
  }
  return std::nullopt;
}

// The library's way to say that a flag means "no" is not for people: "--no-keeper{false}". What stands beside
// it keeps its column.
std::string without_flag_values(std::string help) {
  constexpr std::string_view value = "{false}";
  for (std::size_t at; (at = help.find(value)) != help.npos;) {
    help.erase(at, value.size());
    if (help[at] == ' ') help.insert(at, value.size(), ' ');
  }
  return help;
}

}  // namespace

std::optional<CommandLine> parse_command_line(int argc, char** argv, int& exit_code) {
  CommandLine line{os::default_control(), os::default_state_dir(), "command line", {}};
  std::optional<bool> system_bus;  // as given
  std::string file;
  RunOptions run_options;

  CLI::App app{"reforkd supervises the workers of native servers: crash one request, not the service."};
  app.footer(examples);
  app.set_version_flag("--version", std::string("reforkd ") + REFORK_VERSION);
  app.add_option("--config", file, "run the services of this file")->type_name("FILE");
  app.add_flag("--clean-up", line.clean_up,
               "end what a reforkd has left that stays stopped; for ExecStopPost= of its unit");
  auto* run = app.add_subcommand("run", "run one service, described by options");
  for (auto* place : {&app, run}) {
    place->add_option("--control", line.control, "socket for reforkctl")
        ->capture_default_str()
        ->type_name("SOCKET");
    place->add_option("--state-dir", line.state_dir, "where failures are kept")
        ->capture_default_str()
        ->type_name("DIR");
    place->add_flag("--keeper,!--no-keeper", line.keeper,
                    "whether a keeper starts reforkd again when it dies; by default where no manager does");
    place->add_flag("--exit-on-give-up", line.exit_on_give_up,
                    "end with exit code 3 once every service is given up, as in a container");
    place->add_flag_function(
        "--system-bus,!--no-system-bus", [&](std::int64_t wanted) { system_bus = wanted > 0; },
        "whether it has the name org.refork1 on the system bus; by default root's at the default "
        "socket has");
  }
  run_options.add_to(*run);
  run->footer(examples);
  if (const auto unknown = unknown_option(app, *run, argc, argv)) {
    std::cerr << "reforkd: " << *unknown << "\n";
    exit_code = 2;
    return std::nullopt;
  }
  try {
    app.parse(argc, argv);
    if (line.clean_up) return line;
    if (!*run && file.empty()) throw CLI::RequiredError("--config FILE, or run ... -- COMMAND:");
    if (*run && !file.empty()) throw CLI::ValidationError("--config and run exclude each other");
  } catch (const CLI::ParseError& error) {
    std::ostringstream wrong;
    std::ostringstream help;
    exit_code = app.exit(error, help, wrong) == 0 ? 0 : 2;
    std::cout << without_flag_values(help.str());
    if (exit_code != 0)
      std::cerr << "reforkd: " << error.what() << "\nTry reforkd --help, or reforkd run --help.\n";
    return std::nullopt;
  }
  line.system_bus = system_bus.value_or(::geteuid() == 0 && line.control == os::default_control());
  if (!file.empty()) line.config_name = file;
  line.one_service = run->parsed();
  line.config = *run ? run_options.config() : config::load(file);
  return line;
}

}  // namespace refork
