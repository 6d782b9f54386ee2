#pragma once

#include <systemd/sd-journal.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "base/result.h"
#include "ctl/model.h"

namespace refork::ctl {

// What the journal has of one service: the output of its workers, and reforkd's events.
class Journal {
 public:
  // `slot`: only of this one, -1: of all. `pids`: workers that are known to be of it now; others are found by
  // the events in the journal.
  static base::Result<Journal> open(const std::string& service, std::int32_t slot,
                                    const std::set<std::int32_t>& pids);

  using Show = std::function<void(const LogLine&)>;
  // The last ones, at most `count` and none before `since_ms` (Unix time; 0: all), oldest first. How many.
  base::Result<std::uint64_t> show_last(std::uint64_t count, std::uint64_t since_ms, const Show& show);
  // After show_last(): what comes after those, until the journal cannot be read any more.
  base::Result<void> follow(const Show& show);

 private:
  struct Close {
    void operator()(sd_journal* journal) const noexcept { sd_journal_close(journal); }
  };
  using Handle = std::unique_ptr<sd_journal, Close>;

  Journal(Handle journal, std::int32_t slot) : journal_(std::move(journal)), slot_(slot) {}
  std::string field(const char* name) const;
  std::int64_t number(const char* name, std::int64_t otherwise) const;
  LogLine line() const;
  // A process id says who it was in its boot only.
  using ProcessId = std::pair<std::string, std::int32_t>;
  bool wanted(const LogLine& line);
  base::Result<std::uint64_t> show_on(std::uint64_t most, const Show& show);
  void learn_pids(const std::string& service);

  Handle journal_;
  std::int32_t slot_;
  std::set<ProcessId> pids_;
};

}  // namespace refork::ctl
