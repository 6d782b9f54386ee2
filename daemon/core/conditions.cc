// Why a service is not as it is wanted, said of a moment: what is waited for, and until when.
#include <algorithm>

#include "core/history.h"
#include "core/sentences.h"

namespace refork::core {

namespace {

class Conditions {
 public:
  Conditions(const Service& service, Time now, std::uint64_t now_ms)
      : service_(service), now_(now), now_ms_(now_ms) {}

  std::vector<Condition> of(std::optional<std::uint32_t> slot) {
    of_the_service();
    for (std::uint32_t i = 0; i < service_.slots().size(); ++i)
      if (!slot || *slot == i) of_the_slot(i, service_.slots()[i]);
    for (const auto& [id, worker] : service_.workers())
      if (!slot || *slot == worker.slot) of_the_worker(worker);
    return std::move(found_);
  }

 private:
  void add(std::optional<std::uint32_t> slot, WorkerId worker, const char* kind, std::string text,
           std::optional<Time> until = {}) {
    std::uint64_t until_ms = 0;
    if (until)
      until_ms =
          now_ms_ +
          static_cast<std::uint64_t>(
              std::chrono::duration_cast<Millis>(std::max(*until - now_, Clock::duration::zero())).count());
    found_.push_back({slot, worker, kind, std::move(text), until_ms});
  }

  void of_the_service() {
    if (!service_.wanted())
      add({}, 0, service_.workers().empty() ? "stopped" : "stopping",
          service_.workers().empty() ? "stopped: no worker is wanted" : "stopping: its workers drain");
    if (const auto token = service_.next_token())
      add({}, 0, "storm",
          "storm: the restart budget is used up; workers that had errors serve on until there is a token",
          token);
    else if (!service_.reload_error().empty())
      add({}, 0, "reload", "the last reload failed: " + service_.reload_error());
  }

  void of_the_slot(std::uint32_t number, const Slot& slot) {
    if (slot.current != 0 || !service_.wanted()) return;
    const std::string after = slot.boot_failures == 0
                                  ? std::string()
                                  : " after " + std::to_string(slot.boot_failures) +
                                        (slot.boot_failures == 1 ? " failed start" : " failed starts");
    const std::string why = slot.why.empty() ? std::string() : ": " + slot.why;
    if (slot.given_up)
      add(number, 0, "given-up",
          "given up" + after + why + "; `reforkctl start " + service_.config().name + "` tries again");
    else
      add(number, 0, "backoff", "waits for its next start" + after + why, slot.next_start);
  }

  void of_the_worker(const Worker& worker) {
    if (leaving(worker.state))
      add(worker.slot, worker.id, "draining", worker.why, worker.deadline);
    else if (!worker.ready_at)
      add(worker.slot, worker.id, "starting", "not ready yet, since " + say_duration(now_ - worker.since),
          worker.deadline);
    else if (worker.wanted_gone)
      add(worker.slot, worker.id, "waiting", "is to be replaced, but " + worker.why);
  }

  const Service& service_;
  Time now_;
  std::uint64_t now_ms_;
  std::vector<Condition> found_;
};

}  // namespace

std::vector<Condition> conditions(const Service& service, std::optional<std::uint32_t> slot, Time now,
                                  std::uint64_t now_ms) {
  return Conditions(service, now, now_ms).of(slot);
}

}  // namespace refork::core
