// From a service's configuration to what one of its workers is started with.
#include "supervisor/spawn_plan.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <map>
#include <string_view>

#include "base/fingerprint.h"
#include "log/log.h"
#include "os/environment.h"
#include "os/file.h"
#include "os/journal.h"

namespace refork::supervisor {

namespace {

constexpr std::string_view file_prefix = "file:";  // of `log`
constexpr const char* journal_log = "journal";
constexpr const char* inherited_log = "inherit";
constexpr int first_listener = 3;  // SD_LISTEN_FDS_START

std::map<std::string, std::string> inherited_environment() {
  std::map<std::string, std::string> variables;
  for (const auto& entry : os::environment_for(os::Receiver::worker)) {
    const auto equals = entry.find('=');
    variables.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return variables;
}

// A journal that is not there, or stuck, is no reason not to serve.
base::UniqueFd open_stream(const std::string& service) {
  auto stream = os::open_journal_stream(service);
  if (stream) return std::move(*stream);
  log::warning("service " + service + ": " + stream.error().what +
               "; the output of this worker goes to where reforkd's own goes");
  return {};
}

// Programs look there whether they write to the journal.
void tell_stream(std::map<std::string, std::string>& environment, int output) {
  constexpr const char* name = "JOURNAL_STREAM";
  struct stat status {};
  if (output < 0) return;  // as for reforkd itself
  environment.erase(name);
  if (::fstat(output, &status) == 0 && S_ISSOCK(status.st_mode))
    environment[name] = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

}  // namespace

std::string effective_log(const std::string& log) {
  if (log != "auto") return log;
  return log::goes_to_journal() ? journal_log : inherited_log;
}

void note_output(Subject& subject, const std::string& log, int output) {
  struct stat status {};
  if (output < 0 || ::fstat(output, &status) != 0) return;
  if (S_ISSOCK(status.st_mode)) subject.output = std::string(journal_prefix) + subject.service;
  if (!log.starts_with(file_prefix) || !S_ISREG(status.st_mode)) return;
  subject.output = log.substr(file_prefix.size());
  subject.output_from = static_cast<std::uint64_t>(status.st_size);
}

base::Result<base::UniqueFd> open_output(const core::ServiceConfig& config) {
  const std::string log = effective_log(config.log);
  if (log == inherited_log) return base::UniqueFd();
  if (log == journal_log) return open_stream(config.name);
  const std::string path = log == "null" ? "/dev/null" : log.substr(file_prefix.size());
  auto fd = os::open_file(path, O_WRONLY | O_CREAT | O_APPEND, 0640);
  if (!fd) return base::Error{fd.error().code, "the log: " + fd.error().what};
  // Opened without waiting, should it be a pipe that nobody reads; the worker writes to it as to any file.
  if (const int flags = ::fcntl(fd->get(), F_GETFL); flags >= 0)
    ::fcntl(fd->get(), F_SETFL, flags & ~O_NONBLOCK);
  return fd;
}

base::Result<os::SpawnPlan> plan_worker(const core::ServiceConfig& config, const core::Spawn& what,
                                        const std::vector<int>& listeners, const WorkerFds& fds,
                                        const std::string& notify_socket) {
  os::SpawnPlan plan;
  auto environment = inherited_environment();
  if (!config.user.empty()) {
    auto user = os::find_user(config.user);
    if (!user) return user.error();
    environment["USER"] = environment["LOGNAME"] = user->name;
    environment["HOME"] = user->home;
    plan.credentials = std::move(*user);
  }
  tell_stream(environment, fds.output);
  for (const auto& [name, value] : config.environment) environment[name] = value;

  const auto path = environment.find("PATH");
  auto program = os::find_program(config.command.front(), path == environment.end() ? "" : path->second);
  if (!program) return program.error();
  plan.program = std::move(*program);
  plan.argv = config.command;
  plan.directory = config.directory;
  plan.limits = config.limits;
  plan.output = fds.output;
  plan.gated = true;
  plan.usual_oom_score = true;

  int number = first_listener;
  std::string names;
  for (const int socket : listeners) {
    names += (names.empty() ? "" : ":") + ("listen" + std::to_string(number - first_listener));
    plan.fds.push_back({socket, number++});
  }
  if (number > first_listener) {
    environment["LISTEN_FDS"] = std::to_string(number - first_listener);
    environment["LISTEN_FDNAMES"] = names;
    plan.listen_pid = true;
  }
  if (fds.channel >= 0) {
    environment["REFORK_CHANNEL"] = std::to_string(number);
    plan.fds.push_back({fds.channel, number++});
    environment["REFORK_RECORDER"] = std::to_string(number);
    plan.fds.push_back({fds.recorder, number++});
  }
  environment["REFORK_SERVICE"] = config.name;
  environment["REFORK_SLOT"] = std::to_string(what.slot);
  environment["REFORK_WORKER"] = std::to_string(what.worker);
  if (config.ready == core::ReadyBy::notify) environment["NOTIFY_SOCKET"] = notify_socket;
  if (config.ready == core::ReadyBy::notify && config.watchdog)
    environment["WATCHDOG_USEC"] = std::to_string(std::chrono::microseconds(*config.watchdog).count());
  for (const auto& [name, value] : environment) plan.environment.push_back(name + "=" + value);
  return plan;
}

std::string print_of(const core::ServiceConfig& config) {
  base::Fingerprint print;
  const auto list = [&print](const std::vector<std::string>& all) {
    for (const auto& text : all) print.add(text);
    print.add("");
  };
  list(config.command);
  list(config.listen);
  for (const auto& [name, value] : config.environment) print.add(name + "=" + value);
  for (const auto& limit : config.limits)
    print.add(limit.name + "=" + (limit.value ? std::to_string(*limit.value) : "unlimited"));
  for (const std::string_view text : {std::string_view(config.user), std::string_view(config.directory),
                                      std::string_view(config.log), base::to_name(config.ready)})
    print.add(text);
  print.add(config.nonblocking ? "nonblocking" : "blocking");
  return base::to_hex(print.value());
}

}  // namespace refork::supervisor
