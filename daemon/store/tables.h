#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/records.h"
#include "core/service_config.h"
#include "store/sqlite.h"

namespace refork::store {

// Two sets of the same tables in one connection: `main`, in memory, for the rows that wait to be written, and
// `disk`, the file attached, or an empty stand-in while there is none. Every question is asked of both at
// once, so it makes no difference to the answers where a row is. No policy: what failed and why is in
// connection().
class Tables {
 public:
  static constexpr std::size_t max_candidates = 5;                 // of an ambiguous id
  static constexpr std::size_t max_list_bytes = 16 * 1024 * 1024;  // of one answer; the oldest are left out

  enum class Attach {
    ok,
    newer,
    failed
  };

  Tables();

  Attach attach(const std::string& path);  // a second one replaces the first
  void detach();                           // the stand-in again

  // Into memory; the same id or worker again changes nothing unless its revision is higher.
  bool keep(const core::FailureRow& row);
  bool keep(const core::EndRow& row);
  bool forget_failure(const std::string& id);
  bool forget_end(std::uint64_t worker);
  bool holds_failure(const std::string& id);

  // Moves everything kept, and the ids reserved, to disk in one transaction; on failure all is as before.
  bool write_out(std::uint64_t reserved_ids);
  // Removes the oldest failures, and the ends that no failure refers to any longer.
  bool prune(const core::StoreConfig& config, std::uint64_t now_ms);
  bool last_worker_id(std::uint64_t& id);

  bool list(const core::FailureFilter& filter, std::vector<std::string>& records);
  bool top(const core::FailureFilter& filter, std::vector<std::string>& groups);
  bool record(const std::string& id, std::string& json);  // left empty: there is none
  // The ids that begin with `prefix`, or only the one equal to it; one more than max_candidates at most.
  bool matching(const std::string& prefix, std::vector<std::string>& ids);
  bool clear(const std::string& service, std::uint64_t& removed);
  bool clear_waiting(const std::string& service, std::uint64_t& removed);

  Connection& connection() { return connection_; }

 private:
  Connection connection_;
};

}  // namespace refork::store
