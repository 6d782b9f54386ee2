// The scene of the chaos, and what must be true of it afterwards. It knows nothing of the faults.
#include "chaos/arena.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

namespace refork::chaos {

using nlohmann::json;
using test::Daemon;

namespace {

// Beyond the memory of the beginning: caches of the store, the history of the slots, arenas.
constexpr std::uint64_t kMemorySlackKib = test::kSanitized ? 512 * 1024 : 8 * 1024;
// The clock of an end and that of a client need not agree on who was first.
constexpr std::uint64_t kClockSlackMs = 500;
// How long reforkd waits for somebody who knows how a worker ended whose keeper is dead.
constexpr std::uint64_t kReapingMs = 3000;
// From reforkd's death until its successor has looked after all workers.
constexpr std::uint64_t kSuccessionMs = 5000;

std::uint64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

json service_config(const char* program, std::vector<std::string> arguments = {}) {
  arguments.insert(arguments.begin(), test::built_program(std::string("examples/") + program));
  return {{"command", arguments},
          {"workers", kWorkers},
          {"listen", {test::free_tcp_address()}},
          {"drain_deadline", "2s"},
          {"lame_duck", "300ms"},
          {"request_timeout", "1s"},
          {"watchdog", "1s"},
          {"restart", {{"budget", {200, "10s"}}}},  // no storm: who hangs is to be gone in time
          {"limits", {{"core", 0}}},
          {"reload", {{"probation", "100ms"}}},
          // A null dereference is to be a crash, with sanitizers too.
          {"environment", {{"ASAN_OPTIONS", "handle_segv=0:handle_abort=0:detect_leaks=0"}}}};
}

Daemon start_daemon() {
  const json config = {{"services",
                        {{"threads", service_config("http_threads")},
                         {"contained", service_config("http_threads", {"--contain-faults"})},
                         {"loop", service_config("http_asio")}}}};
  return Daemon::with_config(config.dump());
}

json service_of(const json& status, const std::string& name) {
  for (const auto& service : status["services"])
    if (service["name"] == name) return service;
  return json::object();
}

bool is_whole(const json& service) {
  if (service.value("state", "") != "running") return false;
  const json& workers = service["workers"];
  return workers.size() == service["wanted"].get<std::size_t>() &&
         std::all_of(workers.begin(), workers.end(), [](const json& worker) {
           return worker["state"] == "serving" && worker["tainted"] == false;
         });
}

// Ended in a way that takes its requests along.
bool abrupt(const test::End& end) { return end.outcome != "clean"; }

}  // namespace

std::string TimeLine::time_of(test::Clock::time_point at) const {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(at - start_).count();
  char time[32];
  std::snprintf(time, sizeof time, "%8.3f", static_cast<double>(ms) / 1000);
  return time;
}

void TimeLine::add(const std::string& what) {
  const std::string time = time_of(test::Clock::now());
  const std::lock_guard lock(mutex_);
  lines_.push_back(time + "  " + what);
}

std::string TimeLine::text() const {
  const std::lock_guard lock(mutex_);
  std::string all;
  for (const auto& line : lines_) all += line + "\n";
  return all;
}

Arena::Arena(int clients) : daemon_(start_daemon()) {
  if (!wait_until_whole()) throw std::runtime_error("the services do not come up:\n" + daemon_.log());
  for (std::size_t i = 0; i < kServices.size(); ++i) addresses_[i] = daemon_.address(0, kServices[i]);
  start_event_log();
  test::http_get(addresses_[0], "/error");  // what is needed for a failure stays: the helper for stacks
  test::complete_failures(daemon_, 1);
  if (!wait_until_whole()) throw std::runtime_error("no calm after the first error");
  before_ = footprint();
  const int each = std::max(1, clients / static_cast<int>(2 * kServices.size()));
  for (std::size_t i = 0; i < kServices.size(); ++i) {
    add_load(i, each, true, "/pid");
    add_load(i, each, false, "/pid?delay=10");
  }
}

void Arena::add_load(std::size_t service, int clients, bool keep_alive, const std::string& path) {
  test::LoadOptions options;
  options.address = addresses_[service];
  options.path = path;
  options.clients = clients;
  options.keep_alive = keep_alive;
  options.pause = std::chrono::milliseconds(5);
  options.patience = kAnswerPatience;
  options.on_lost = [this, name = std::string(kServices[service])](const test::LostRequest& request) {
    const std::uint64_t now = unix_ms();
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(request.lost - request.begun);
    const std::lock_guard lock(lost_mutex_);
    lost_.push_back({name, request, now - static_cast<std::uint64_t>(took.count()), now});
  };
  loads_.push_back({kServices[service], std::make_unique<test::Load>(std::move(options))});
}

// From here on nothing may be missing: what was before is in the status. What is both there and in the log
// does not become anything else by being told twice.
void Arena::start_event_log() {
  events_ = std::make_unique<test::Events>(daemon_);
  test::wait_until([&] {
    daemon_.ctl({"--no-block", "drain", "loop/0"});
    return events_->all().find("\"operator\"") != std::string::npos;
  });
  base_ = models_of(daemon_.status());
}

void Arena::kill_reforkd() {
  time_line_.add("signal 9 to reforkd (pid " + std::to_string(daemon_.pid()) + ")");
  reforkd_deaths_.push_back(unix_ms());
  daemon_.kill();
  start_event_log();
}

bool Arena::kill_keeper() {
  if (!daemon_.process().running()) return false;
  keeper_died_ms_ = unix_ms();
  time_line_.add("signal 9 to the keeper (pid " + std::to_string(daemon_.process().pid()) + ")");
  ::kill(daemon_.process().pid(), SIGKILL);
  daemon_.process().wait();
  return true;
}

std::optional<json> Arena::worker(std::size_t service, std::uint64_t random) const {
  std::vector<json> serving;
  const json now = service_of(daemon_.status(), kServices[service]);
  for (const auto& worker : now["workers"])
    if (worker["state"] == "serving") serving.push_back(worker);
  if (serving.empty()) return std::nullopt;
  return serving[random % serving.size()];
}

bool Arena::whole() const {
  const json status = daemon_.status();
  return std::ranges::all_of(kServices, [&](const char* name) { return is_whole(service_of(status, name)); });
}

bool Arena::wait_until_whole() const {
  return test::wait_until([this] { return whole(); }, kWholePatience);
}

Arena::Footprint Arena::footprint() const {
  Footprint found;
  const std::string process = "/proc/" + std::to_string(daemon_.pid());
  for ([[maybe_unused]] const auto& fd : std::filesystem::directory_iterator(process + "/fd")) ++found.fds;
  std::ifstream status(process + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) found.rss_kib = std::stoull(line.substr(6));
  return found;
}

std::vector<std::string> Arena::verdict() {
  std::vector<std::string> problems;
  if (!wait_until_whole())
    problems.push_back("a pool is not whole " + std::to_string(kWholePatience.count()) +
                       " s after the last fault:\n" + daemon_.ctl({"status"}).out);
  check_load(problems);
  check_events(problems);
  check_footprint(problems);
  check_losses(problems);
  return problems;
}

void Arena::check_load(std::vector<std::string>& problems) {
  for (auto& [service, load] : loads_) {
    const auto result = load->stop();
    const auto& seen = result.bystanders;
    summary_ += service + ": " + result.summary();
    if (seen.ok() == 0) problems.push_back(service + ": nobody was served");
    if (seen.hung != 0)
      problems.push_back(service + ": " + std::to_string(seen.hung) + " requests had no end");
    if (seen.refused + seen.unconnected != 0)
      problems.push_back(service + ": " + std::to_string(seen.refused + seen.unconnected) +
                         " connections were refused");
    if (seen.not_ok() != 0)
      problems.push_back(service + ": " + std::to_string(seen.not_ok()) + " others got an error");
  }
}

void Arena::check_events(std::vector<std::string>& problems) {
  const json status = daemon_.status();
  std::vector<std::string> found;
  // What was announced last may still be on its way.
  test::wait_until(
      [&] {
        found.clear();
        std::vector<json> log;
        std::istringstream lines(events_->all());
        for (std::string line; std::getline(lines, line);)
          if (json event = json::parse(line, nullptr, false); event.contains("sequence"))
            log.push_back(std::move(event));
        const auto told = replay(base_, log, found);
        std::ranges::move(differences(told, models_of(status)), std::back_inserter(found));
        return found.empty();
      },
      std::chrono::seconds(5));
  std::ranges::move(found, std::back_inserter(problems));
}

void Arena::check_footprint(std::vector<std::string>& problems) {
  Footprint now;
  const auto fds_as_before = [&] { return (now = footprint()).fds <= before_.fds; };
  if (!test::wait_until(fds_as_before, std::chrono::seconds(5)))
    problems.push_back("reforkd had " + std::to_string(before_.fds) + " descriptors, now " +
                       std::to_string(now.fds));
  if (now.rss_kib > before_.rss_kib + kMemorySlackKib)
    problems.push_back("reforkd had " + std::to_string(before_.rss_kib) + " KiB, now " +
                       std::to_string(now.rss_kib));
  summary_ += "reforkd: " + std::to_string(before_.fds) + " -> " + std::to_string(now.fds) +
              " descriptors, " + std::to_string(before_.rss_kib) + " -> " + std::to_string(now.rss_kib) +
              " KiB\n";
}

// Its keeper may be another one than that which was started.
void Arena::stop_daemon() {
  const pid_t reforkd = daemon_.pid();
  if (daemon_.process().running()) {
    daemon_.stop();
    return;
  }
  ::kill(reforkd, SIGTERM);
  test::wait_until_gone(reforkd);
}

// A worker that died about when reforkd did: its end has the time at which the next one found it. One that
// died after its keeper, and nobody knew how, or with code 0, which only whoever reaps it knows.
bool Arena::told_late(const test::End& end, std::uint64_t died_ms) const {
  const bool known = end.signal || end.code.value_or(0) != 0;
  if (keeper_died_ms_ && !known && died_ms + kClockSlackMs >= *keeper_died_ms_ &&
      end.time_ms <= died_ms + kReapingMs + kClockSlackMs)
    return true;
  return std::ranges::any_of(reforkd_deaths_, [&](std::uint64_t death) {
    return died_ms + kClockSlackMs >= death && end.time_ms >= death && end.time_ms <= death + kSuccessionMs;
  });
}

// A request may be lost with the worker that it was on, if that died; on nobody else.
void Arena::check_losses(std::vector<std::string>& problems) {
  stop_daemon();
  const auto ends = test::ends_of(daemon_);
  std::map<std::string, std::uint64_t> crossed;  // by pid: what a drain is known to lose
  std::set<std::string> died;
  std::set<std::uint64_t> workers;
  for (const auto& end : ends) {
    if (!workers.insert(end.worker).second)
      problems.push_back("worker " + std::to_string(end.worker) + " has two ends");
    if (abrupt(end)) died.insert(std::to_string(end.pid));
    crossed[std::to_string(end.pid)] += end.crossed;
  }
  const auto excused = [&](const Lost& one) {
    const std::string& pid = one.request.last_body;
    if (!pid.empty()) {
      if (died.contains(pid)) return true;
      auto& left = crossed[pid];
      return left > 0 && left-- > 0;
    }
    return std::ranges::any_of(ends, [&](const test::End& end) {
      return abrupt(end) && end.service == one.service && end.time_ms + kClockSlackMs >= one.begun_ms &&
             (end.time_ms <= one.lost_ms + kClockSlackMs || told_late(end, one.lost_ms));
    });
  };
  for (const auto& one : lost_)
    if (!excused(one))
      problems.push_back(time_line_.time_of(one.request.lost) + "  " + one.service +
                         " lost a request after " + std::to_string(one.lost_ms - one.begun_ms) + " ms" +
                         (one.request.last_body.empty()
                              ? ", the first on its connection, when no worker died"
                              : " on process " + one.request.last_body + ", which did not die"));
  const auto count = std::ranges::count_if(ends, abrupt);
  summary_ += std::to_string(ends.size()) + " workers ended, " + std::to_string(count) +
              " of them abruptly; " + std::to_string(lost_.size()) + " requests were lost with those\n";
}

}  // namespace refork::chaos
