#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "support/daemon.h"
#include "support/load.h"

// What the end-to-end tests share: services as they are mostly wanted, and what reforkd left of them.
namespace refork::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
// A worker that never finishes is gone this long after its deadline; the ends of sanitized programs take
// their time.
inline constexpr std::uint64_t kAfterDeadlineMs = kSanitized ? 5000 : 1000;

// A service "web" on a free port of the loopback: `options` are those of `reforkd run`.
Daemon web(std::vector<std::string> options, std::vector<std::string> command);
// The same of an example server or of a test program of ours, with its arguments.
Daemon web_of(const std::string& program, std::vector<std::string> options = {},
              std::vector<std::string> arguments = {});
std::string odd_worker();
std::string unlinked_server();
std::string mortal_worker();
std::string free_tcp_address();  // "tcp://127.0.0.1:PORT", free a moment ago

// Until the service runs, with all its workers serving and none on its way out.
bool wait_until_settled(const Daemon& daemon);
// Until the one worker in slot 0 has so many requests in flight.
bool wait_for_in_flight(const Daemon& daemon, std::uint64_t count);
// Until the process is gone, or is but an entry that nobody has reaped.
bool wait_until_gone(pid_t pid, std::chrono::milliseconds patience = kProcessPatience);
// Until all of so many failures are complete, with how their worker's drain went.
nlohmann::json complete_failures(const Daemon& daemon, std::size_t count);
// The labels of the requests that were cut with the failure's worker.
std::vector<std::string> cut_by(const nlohmann::json& failure);

// A row of the table of ends.
struct End {
  std::uint64_t worker = 0;
  std::string requested, outcome, cause;
  std::optional<int> code, signal;
  std::uint64_t cut = 0, crossed = 0;
  std::int32_t pid = 0;
  std::uint64_t time_ms = 0;
  std::string service;
};
// How those that have ended did so, by their ids.
std::vector<End> ends_of(const Daemon& daemon);
// Stops the daemon and reads how each of its workers ended, by their ids.
std::vector<End> ends_after_stop(Daemon& daemon);

// reforkd started by a user who made a mistake: until it has ended, which it does at once.
Daemon::Ran reforkd(std::vector<std::string> arguments, bool as_nobody = false,
                    std::vector<std::string> environment = {});

// `reforkctl events --messages`, running beside the test.
class Events {
 public:
  explicit Events(const Daemon& daemon);
  bool wait_for(std::string_view part) const { return process_.wait_for_line(part).has_value(); }
  std::optional<std::string> line(std::string_view part) const { return process_.wait_for_line(part); }
  std::string all() const { return process_.output(); }

 private:
  Process process_;
};

}  // namespace refork::test
