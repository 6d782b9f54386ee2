#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "core/records.h"
#include "core/service_config.h"
#include "core/status.h"
#include "store/tables.h"

namespace refork::store {

// What the store decides: when rows are written, what to do when they cannot be, what to drop. Synchronous,
// for one thread at a time; time comes in.
class Engine {
 public:
  using Clock = std::chrono::steady_clock;
  using Settled = std::function<void()>;
  // Takes a caller's function on its way out: to be called (the row is safe), or only to be destroyed (it was
  // dropped).
  using Settle = std::function<void(Settled, bool safe)>;

  static constexpr std::uint64_t max_prune_every = 256;   // rows written between two prunings …
  static constexpr std::chrono::hours prune_at_least{1};  // … or this time, whichever comes first

  Engine(std::string state_dir, core::StoreConfig config, Settle settle);

  void open(Clock::time_point now);
  void close() { detach(); }  // gives the file back to others
  std::uint64_t last_worker_id() const { return last_worker_id_; }

  void keep(const core::FailureRow& row, Settled settled);
  void keep(const core::EndRow& row, Settled settled);
  void reserve_worker_ids(std::uint64_t up_to);
  // Writes what waits, or looks whether a degraded store is well again. False: it is not; status() says why.
  bool write(Clock::time_point now);
  bool waits() const { return !tickets_.empty() || reserved_ids_ > written_ids_; }
  bool degraded() const { return status_.state != "ok"; }

  base::Result<std::vector<std::string>> list(const core::FailureFilter& filter);
  base::Result<std::vector<std::string>> top(const core::FailureFilter& filter);
  base::Result<std::string> show(const std::string& id_prefix);
  base::Result<std::uint64_t> clear(const std::string& service);

  const core::StoreStatus& status() const { return status_; }
  void interrupt() { tables_.connection().interrupt(); }  // from any thread

 private:
  // One call of keep(). Its row is in memory under `failure` or, where that is empty, `end`.
  struct Ticket {
    std::uint64_t number;
    std::string failure;
    std::uint64_t end;
    Settled settled;
    std::string key() const { return failure.empty() ? std::to_string(end) : "f" + failure; }
  };

  bool attach();
  void detach();
  bool try_write(Clock::time_point now);
  void prune(Clock::time_point now);
  template <class Step>
  bool attempt(Step step);
  bool replace_corrupt_file();
  void take(Ticket ticket, bool kept);
  void drop_oldest();
  void settle_all();
  void settle_cleared();
  void count_waiting() { status_.waiting = tickets_.size(); }
  void trouble(std::string why);
  std::string words(const std::string& doing);

  std::string state_dir_;
  core::StoreConfig config_;
  Settle settle_;
  Tables tables_;
  core::StoreStatus status_;
  bool attached_ = false;
  bool reattach_ = false;  // what failed may be healed by opening the file again
  std::deque<Ticket> tickets_;
  std::unordered_map<std::string, std::uint64_t> latest_;  // key of a row in memory -> the last ticket for it
  std::uint64_t next_ticket_ = 0;
  std::uint64_t last_worker_id_ = 0, reserved_ids_ = 0, written_ids_ = 0;
  std::uint64_t rows_since_prune_ = 0;
  std::optional<Clock::time_point> pruned_;
};

}  // namespace refork::store
