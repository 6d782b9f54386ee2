#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "chaos/replay.h"
#include "e2e/scene.h"
#include "support/load.h"

namespace refork::chaos {

inline constexpr std::array<const char*, 3> kServices = {"threads", "contained", "loop"};
inline constexpr std::size_t kContained = 1;               // the service whose faults are contained
inline constexpr std::uint32_t kWorkers = 4;               // of each, at the beginning and at the end
inline constexpr std::chrono::seconds kAnswerPatience{5};  // a request ends by then, in whatever way
inline constexpr std::chrono::seconds kWholePatience{10};  // after the last fault

// What happened when, told if something is found to be wrong.
class TimeLine {
 public:
  void add(const std::string& what);
  std::string time_of(test::Clock::time_point at) const;
  std::string text() const;

 private:
  mutable std::mutex mutex_;
  const test::Clock::time_point start_ = test::Clock::now();
  std::vector<std::string> lines_;
};

struct Lost {
  std::string service;
  test::LostRequest request;
  std::uint64_t begun_ms = 0, lost_ms = 0;  // Unix time
};

// A real reforkd with two services under exact load, and its event log.
class Arena {
 public:
  explicit Arena(int clients);

  test::Daemon& daemon() { return daemon_; }
  TimeLine& time_line() { return time_line_; }
  test::Address address(std::size_t service) const { return addresses_.at(service); }
  // Ends reforkd with SIGKILL, and hears its successor's events from then on.
  void kill_reforkd();
  // The one that was started first; false if that is gone already.
  bool kill_keeper();
  // A worker of the service that serves, any of them.
  std::optional<nlohmann::json> worker(std::size_t service, std::uint64_t random) const;

  bool whole() const;  // every service runs, with all its workers serving and none tainted
  bool wait_until_whole() const;
  // Everything that was found to be wrong. Ends the load and the daemon.
  std::vector<std::string> verdict();
  std::string summary() const { return summary_; }

 private:
  struct Footprint {
    std::size_t fds = 0;
    std::uint64_t rss_kib = 0;
  };
  struct ServiceLoad {
    std::string service;
    std::unique_ptr<test::Load> load;
  };

  void add_load(std::size_t service, int clients, bool keep_alive, const std::string& path);
  void start_event_log();
  void stop_daemon();
  bool told_late(const test::End& end, std::uint64_t died_ms) const;
  Footprint footprint() const;
  void check_load(std::vector<std::string>& problems);
  void check_footprint(std::vector<std::string>& problems);
  void check_events(std::vector<std::string>& problems);
  void check_losses(std::vector<std::string>& problems);

  test::Daemon daemon_;
  TimeLine time_line_;
  std::array<test::Address, kServices.size()> addresses_;
  std::unique_ptr<test::Events> events_;
  Models base_;  // what is so where the event log begins
  Footprint before_;
  std::vector<std::uint64_t> reforkd_deaths_;    // Unix ms
  std::optional<std::uint64_t> keeper_died_ms_;  // the one that it began with
  std::mutex lost_mutex_;
  std::vector<Lost> lost_;
  std::vector<ServiceLoad> loads_;
  std::string summary_;
};

}  // namespace refork::chaos
