#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/health.h"
#include "core/service.h"
#include "recorder/reader.h"
#include "supervisor/failures.h"
#include "supervisor/loop.h"
#include "supervisor/thread_stacks.h"

namespace refork::supervisor {

// Looks after the workers of one service, every now and then, as far as its configuration wants it: loops
// that hang, requests that take too long, what is used up. Where nothing of it is wanted, it does nothing
// at all.
class Watch {
 public:
  // Never longer without a look at requests and usage, nor shorter between two looks.
  static constexpr core::Millis longest_interval{1000}, shortest_interval{50};
  // Where requests have timeouts of their own, which may be any.
  static constexpr core::Millis own_timeouts_interval{250};
  // From a look at a worker's requests to the next one, for those of them that are not late yet, and those
  // that begin meanwhile. `timeout`: of a request that has none of its own.
  static core::Millis until_next_look(const std::vector<recorder::InFlight>& requests,
                                      std::optional<core::Millis> timeout);
  // Requests of one worker that are recorded for their time; of further ones, the end of the worker tells.
  static constexpr std::size_t max_timeouts = 64;

  struct Patient {
    const core::Worker* worker = nullptr;
    const Subject* subject = nullptr;
    const recorder::Reader* reader = nullptr;  // nullptr: not linked
  };
  // What it needs of the service's runner.
  class Ward {
   public:
    virtual ~Ward() = default;
    virtual const core::Service& service() const = 0;
    virtual std::optional<Patient> patient(core::WorkerId worker) const = 0;  // nothing: it is gone
    virtual void feed(const std::function<void(core::Service&, core::Time, core::Effects&)>& input) = 0;
    virtual void report(const Subject& subject, proto::FailureRecord record, bool shows_query) = 0;
    virtual void announce(const core::Worker& worker, core::EventType type, std::string text) = 0;
  };

  Watch(Loop& loop, Ward& ward, const core::ServiceConfig& config);
  // Requests have timeouts of their own, though the configuration has none.
  void look_after_requests();
  void beat(core::WorkerId worker);  // WATCHDOG=1 of a worker that is not linked

 private:
  struct Late {  // a request
    proto::RequestRef request;
    core::Millis timeout;
    std::uint64_t in_flight = 0;
    std::uint32_t thread = 0;
  };
  // One worker.
  struct Chart {
    explicit Chart(core::Millis watchdog) : health(watchdog) {}
    core::Health health;
    std::optional<core::Time> beat;  // of one that is not linked
    bool starved = false;            // that was told
    bool hung = false;
    std::set<std::uint64_t> late;  // requests that were told
    std::size_t timeouts = 0;
    // Stacks that were asked for, and what they are for: a hang, or requests.
    std::optional<StackDemand> demand;
    std::optional<core::HealthVerdict> verdict;
    std::vector<Late> requests;
  };

  void look();
  void look_at(core::WorkerId worker, core::Time now, bool closely);
  void check_loops(const Patient& patient, Chart& chart, core::Time now);
  void check_requests(const Patient& patient, Chart& chart, core::Time now);
  bool has_timeouts(const Patient& patient) const;
  void check_usage(const Patient& patient);
  void finish(core::WorkerId worker, Chart& chart);
  void tell_hang(const Patient& patient, Chart& chart);
  void tell_timeouts(const Patient& patient, Chart& chart);
  std::vector<core::Pulse> pulses(const Patient& patient, const Chart& chart, core::Time now) const;
  std::optional<core::Millis> interval() const;

  Ward& ward_;
  const core::ServiceConfig& config_;
  std::optional<core::Millis> interval_;  // between looks; nothing: there is nothing to look after
  std::map<core::WorkerId, Chart> charts_;
  core::Time closely_due_;  // requests and usage
  bool own_timeouts_ = false;
  Loop::Source timer_;
};

}  // namespace refork::supervisor
