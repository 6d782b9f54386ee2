#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/effects.h"
#include "core/operations.h"
#include "core/records.h"
#include "proto/record.h"
#include "proto/redact.h"
#include "store/store.h"
#include "supervisor/kept_recorder.h"
#include "supervisor/symbols.h"
#include "supervisor/tally.h"

namespace refork::supervisor {

// Whom a record is about; reforkd's own knowledge, whatever the worker claims.
struct Subject {
  std::string service;
  std::uint32_t slot = 0;
  core::WorkerId worker = 0;
  std::int32_t pid = 0;
  std::uint32_t generation = 1;
  std::uint64_t started_ms = 0;   // Unix time
  std::string output = {};        // the file its process writes to, or journal_prefix and its identifier
  std::uint64_t output_from = 0;  // where that stood when it was started, and when it had ended
  std::optional<std::uint64_t> output_to = {};
};

std::uint64_t unix_ms();

// Of Subject::output, in the place of a path.
inline constexpr std::string_view journal_prefix = "journal:";

// Who knows what a process wrote last. The answer comes exactly once, perhaps before ask() returns; empty:
// nothing.
class Outputs {
 public:
  using Reply = std::function<void(std::string)>;
  virtual ~Outputs() = default;
  virtual void ask(const Subject& subject, Reply reply) = 0;
};

// What was found in a recorder.
struct Collected {
  std::size_t fresh = 0;    // failures that are new
  bool terminated = false;  // one of them is the end of its process
  bool crashed = false;     // it got a fatal signal, and that has its record
};

// What became of the last requests of a worker.
struct Finished {
  std::optional<std::uint64_t> completed;  // in its drain, if there was one
  std::optional<std::uint64_t> cut;        // nothing: nobody knows, for it does not link librefork
};

// Brings failures and ends to the store, and tells the doors of each new one. A record with a stack waits for
// the names of its frames, as long as `symbols` takes. What is in a flight recorder is freed there only once
// it is stored; what is to be hidden is hidden before anybody is told.
class Failures {
 public:
  // `summary`: type and message on one line, for those who may read failures.
  using Announce = std::function<void(const core::FailureRow&, const std::string& summary)>;
  Failures(store::Store& store, Symbols& symbols, Announce announce)
      : store_(store), symbols_(symbols), announce_(std::move(announce)) {}

  // Whom to ask for what a process that did not end well wrote last; without it nobody is.
  void take_output_from(Outputs& outputs) { outputs_ = &outputs; }

  // What is hidden in the records of a service, whatever its application says. Without it: the usual names,
  // and queries unless the application means them to be seen.
  void redact(const std::string& service, const std::vector<std::string>& names);

  // Copies what the recorder holds and has not been copied yet. What a handler of a fatal signal has not
  // finished is left to it, unless its process is `dead`.
  Collected collect(const Subject& subject, const std::shared_ptr<KeptRecorder>& recorder, bool dead = false);
  // A failure that only reforkd saw. Its id follows from the worker, the kind, and how many of the kind the
  // worker has had, so that one that is told again after a death of reforkd is stored once.
  void report(const Subject& subject, Kind kind, const std::string& message,
              std::optional<std::uint64_t> in_flight);
  // The same with all that is known of it: what identifies it is filled in here, and its fingerprint where
  // there is none. `shows_query`: the application means its queries to be seen.
  void report(const Subject& subject, proto::FailureRecord record, bool shows_query);
  // The worker's one end row, stored after all its failures. Afterwards the recorder is let go, and removed
  // once all it held is stored.
  Finished end(const Subject& subject, const core::Ended& ended,
               const std::shared_ptr<KeptRecorder>& recorder, std::uint64_t served_before_drain);

  // Reports that are not known to be on disk, as JSON; what the next reforkd tells again.
  std::vector<std::string> unsafe_reports(core::WorkerId worker) const;
  void report_again(const Subject& subject, std::string_view json);
  // How many of each kind were reported about a worker that lives.
  using Reports = std::map<std::string, std::uint32_t>;
  Reports reports(core::WorkerId worker) const;
  void assume_reports(core::WorkerId worker, Reports reports) {
    reports_[worker] = std::move(reports);
    assumed_.insert(worker);
  }

  // How many there were, and which of them were told: exact over deaths of reforkd where it is saved when it
  // changes, which on_change() tells. A failure is announced right before that call; so a death just in
  // between announces it twice, and nothing else does.
  Tally& tally() noexcept { return tally_; }
  const Tally& tally() const noexcept { return tally_; }
  using Changed = std::function<void(const std::string& service)>;
  void on_change(Changed changed) { changed_ = std::move(changed); }
  // Nothing is announced until release(): while more has to happen before anything can be saved.
  void hold() { held_ = true; }
  void release();

  // Of a worker whose end is not stored nothing is kept for it any more.
  void forget(core::WorkerId worker);

  // What still waits for names is stored without them; they come too late then.
  void store_waiting();

 private:
  struct Waiting {
    proto::FailureRecord record;
    std::function<void()> stored;
    std::size_t unnamed = 0;  // stacks
  };
  struct End {
    core::EndRow row;
    proto::Outcome outcome;
    std::function<void()> stored;
    std::vector<std::pair<std::string, std::string>> build_ids;  // of the stacks of requests that were cut
    std::size_t unnamed = 0;                                     // of these
    std::optional<Subject> output;                               // what it wrote last is yet to be asked for
    bool asked = false;                                          // it was, and the answer is not there
  };
  void collect_crashes(const Subject& subject, const recorder::Reader& reader, bool dead,
                       Collected& collected, std::set<std::string>& met);
  void keep_and_add(const Subject& subject, proto::FailureRecord record);
  void add_end_of(core::WorkerId worker);
  void name_and_add(const Subject& subject, Waiting one);
  void name_cut(const Subject& subject);
  void ask(const Subject& subject, const proto::FailureRecord& about, const std::vector<proto::Frame>& stack,
           Symbols::Reply reply);
  void ask_for_output(core::WorkerId worker);
  void store_end(End end);
  void add(const proto::FailureRecord& record, std::function<void()> stored);
  void tell(const core::FailureRow& row, const std::string& summary);
  void forget_settled(core::WorkerId worker, std::set<std::string> met);
  const proto::Redactor& redactor(const std::string& service, bool shows_query) const;
  store::Store& store_;
  Symbols& symbols_;
  Announce announce_;
  Changed changed_;
  Tally tally_;
  bool held_ = false;
  std::vector<std::pair<core::FailureRow, std::string>> untold_;  // with its summary
  std::set<core::WorkerId> assumed_;                              // of an earlier reforkd, not collected yet
  Outputs* outputs_ = nullptr;
  std::map<core::WorkerId, proto::FailureRecord> fatal_;  // the latest that tells of a worker's end
  std::uint64_t last_waiting_ = 0;
  std::map<std::uint64_t, Waiting> waiting_;                    // for names
  std::map<core::WorkerId, End> ends_;                          // waiting for those
  std::set<std::pair<core::WorkerId, std::uint32_t>> crashes_;  // that were collected, of workers that run
  std::map<std::string, proto::Redactor> redactors_;            // of the services that say what is hidden
  std::map<core::WorkerId, Reports> reports_;
  std::map<core::WorkerId, std::map<std::string, std::string>> unsafe_;  // reports, as JSON, by their ids
  const proto::Redactor usual_, showing_query_ = usual_.showing_query();
};

}  // namespace refork::supervisor
