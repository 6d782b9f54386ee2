#pragma once

#include <cstdint>

#include "refork/domain.hpp"
#include "refork/failure.hpp"

namespace refork::domain {

// Where captured failures go: the process's Worker. Domains know nothing else of it.
class Sink {
 public:
  virtual ~Sink() = default;

  // Called once for each captured failure, on the capturing thread, before the domain's handler (which
  // answers the culprit): pauses accepting, records, tells reforkd, and sets failure.id. `request` is what
  // set_request() tied to the domain or to the nearest domain around it, 0 for none. Called again for the
  // same request with kind `handler` and failure.original set when that handler threw: the first record is
  // amended, not joined by a second.
  virtual void record(Failure& failure, Then then, std::uint64_t request) noexcept = 0;
};

// One a process; nullptr takes it away. While a sink is there, the outermost run of a thread and every bound
// callback capture even without a handler of their own (the Worker's default: record, drain, drop the
// connection).
void set_sink(Sink* sink) noexcept;

// Ties an in-flight request to the domain whose errors are its own; 0 unties. An empty handle is ignored.
void set_request(const Domain& domain, std::uint64_t request) noexcept;

// Of a failure made by hand: what is still empty of domains, context and stack is told as of the function
// that returns to `reported_from`. Returns the request that it belongs to, as for Sink::record.
std::uint64_t complete(Failure& failure, const void* reported_from) noexcept;

// A number that names a domain for the flight recorder: unique in the process, 0 for the empty handle.
std::uint64_t number(const Domain& domain) noexcept;

}  // namespace refork::domain
