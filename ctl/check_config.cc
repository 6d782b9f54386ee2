// The one command that needs no reforkd: it reads the configuration with reforkd's own parser, so that both
// agree. What is not there on this machine is only a warning: the file may be meant for another one, or come
// before the server is installed.
#include "ctl/check_config.h"

#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

#include "config/config.h"

namespace refork::ctl {

namespace {

bool is_directory(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode);
}

bool can_run(const std::string& program) {
  if (program.front() == '/') return ::access(program.c_str(), X_OK) == 0;
  if (program.find('/') != program.npos) return true;  // as seen from its directory: not from here
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (::access((folder + '/' + program).c_str(), X_OK) == 0) return true;
  return false;
}

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

void look(const core::ServiceConfig& service, std::vector<std::string>& warnings) {
  constexpr std::string_view log_file = "file:";
  const auto warn = [&](const std::string& key, const std::string& what) {
    warnings.push_back("services." + service.name + '.' + key + ": " + what);
  };
  if (!service.command.empty() && !service.command[0].empty() && !can_run(service.command[0]))
    warn("command", "there is no program " + service.command[0] + " here");
  if (!service.user.empty() && !::getpwnam(service.user.c_str()))
    warn("user", "there is no user " + service.user + " here");
  if (!service.directory.empty() && !is_directory(service.directory))
    warn("directory", "there is no directory " + service.directory + " here");
  if (service.log.starts_with(log_file))
    if (const auto folder = parent_of(service.log.substr(log_file.size())); !is_directory(folder))
      warn("log", "there is no directory " + folder + " here");
}

std::vector<std::string> warnings_of(const config::Outcome& outcome) {
  std::vector<std::string> warnings;
  if (outcome.ok())
    for (const auto& service : outcome.config.services) look(service, warnings);
  return warnings;
}

std::string as_json(const std::string& file, const config::Outcome& outcome) {
  using Json = nlohmann::ordered_json;
  Json problems = Json::array();
  for (const auto& problem : outcome.problems)
    problems.push_back({{"file", problem.file},
                        {"line", problem.line},
                        {"column", problem.column},
                        {"path", problem.path},
                        {"what", problem.what}});
  const Json json = {{"file", file},
                     {"ok", outcome.ok()},
                     {"problems", std::move(problems)},
                     {"warnings", warnings_of(outcome)}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

int check_config(const Invocation& call, const Console& console) {
  const auto outcome = config::load(call.target);
  if (call.json) {
    console.out(as_json(call.target, outcome));
  } else {
    for (const auto& problem : outcome.problems) console.err(escape(problem.text()) + "\n");
    for (const auto& warning : warnings_of(outcome))
      console.err(escape(call.target + ": warning: " + warning) + "\n");
    if (outcome.ok())
      console.out(escape(call.target) + ": ok, " + count_of(outcome.config.services.size(), "service") +
                  "\n");
  }
  return outcome.ok() ? Exit::ok : Exit::failed;
}

}  // namespace refork::ctl
