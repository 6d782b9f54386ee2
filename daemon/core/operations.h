#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/history.h"
#include "core/records.h"
#include "core/status.h"

namespace refork::core {

// What an operator can ask of reforkd: the port between the doors (bus) and the supervisor. Everything runs
// on the main thread. A Done is called exactly once, perhaps before the call returns, when what was asked has
// come to its end or has failed; its error is a sentence for the operator, with code ENOENT (no such service,
// worker, failure), EINVAL (makes no sense), EBUSY, ECANCELED (overtaken by a later request) or ETIMEDOUT.
class Operations {
 public:
  using Done = std::function<void(base::Result<void>)>;
  template <class T>
  using Reply = std::function<void(base::Result<T>)>;

  virtual ~Operations() = default;

  virtual DaemonStatus status() = 0;
  // TARGET is "SERVICE" or "SERVICE/SLOT".
  virtual base::Result<Why> why(std::string_view target) = 0;
  // Who is about to ask for one of the following: for the history, if it is not refused.
  virtual void asked(std::string_view verb, std::string_view by) = 0;
  virtual void start(std::string_view service, Done done) = 0;
  virtual void stop(std::string_view service, Done done) = 0;
  virtual void restart(std::string_view service, Done done) = 0;  // stop, then start
  virtual void reload(std::string_view service, Done done) = 0;   // a new generation, slot by slot
  virtual void scale(std::string_view service, std::uint32_t workers, Done done) = 0;
  // TARGET is "SERVICE/SLOT" (the slot's current worker) or a worker's id.
  virtual void drain(std::string_view target, Done done) = 0;  // done when the process is gone
  virtual void kill(std::string_view target, Done done) = 0;   // SIGKILL at once
  virtual void send(std::string_view target, std::string_view json,
                    Done done) = 0;  // or "SERVICE": all its workers

  virtual void failures(const FailureFilter& filter,
                        Reply<std::vector<std::string>> reply) = 0;  // JSON objects
  // Failures with the same fingerprint together, the most frequent first: JSON objects. `filter.limit` groups
  // at most.
  virtual void top_failures(const FailureFilter& filter, Reply<std::vector<std::string>> reply) = 0;
  virtual void failure(std::string_view id,
                       Reply<std::string> reply) = 0;  // an id, or an unambiguous beginning of one
  virtual void clear_failures(std::string_view service, Reply<std::uint64_t> reply) = 0;  // empty: all
  // reforkd executes its program anew, and goes on with everything. Done once that is certain, before it is.
  virtual void reexec(Done done) = 0;
};

// What the supervisor tells the doors.
class Publisher {
 public:
  virtual ~Publisher() = default;
  virtual void event(const Event& event) = 0;
  virtual void failure_recorded(
      const FailureRow& row) = 0;  // subscribers get id, service, slot, kind, fingerprint
  virtual void message(std::uint64_t worker,
                       std::string_view json) = 0;  // an application message from a worker
  virtual void
  changed() = 0;  // status() differs from what it was: publish differences, once a loop turn at most
};

}  // namespace refork::core
