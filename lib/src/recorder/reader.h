#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recorder/layout.h"

namespace refork::recorder {

struct InFlight {
  std::string label;
  std::uint64_t age_ms = 0;
  std::uint32_t thread = 0;
  std::uint64_t domain = 0;
  std::uint32_t timeout_ms = 0;  // its own; 0: the service's
  std::uint64_t id = 0;          // of no other request of this worker
};

struct Counters {
  std::uint64_t in_flight = 0;
  std::uint64_t served = 0;
  std::uint64_t crossed = 0;
  std::uint64_t dropped = 0;
  std::int32_t pid = 0;  // 0: librefork never attached
  bool draining = false;
};

struct StoredRecord {
  std::uint32_t slot = 0;  // to be freed with release() once it is safe
  std::uint64_t sequence = 0;
  std::string json;
};

struct DroppedRecords {
  std::uint64_t fingerprint = 0;
  std::uint64_t count = 0;
};

// An instruction in a stack: of a call, or of the fault itself.
struct Address {
  std::string module;    // path; empty: not known
  std::string build_id;  // hex digits; empty: not known
  std::uint64_t offset = 0;
};

struct ThreadStack {
  std::uint32_t tid = 0;
  std::string name;
  std::string request_label;  // of the request that it handles; empty: none
  std::vector<Address> frames;
  std::uint64_t request_id = 0;  // InFlight::id of the same; 0: none
};

struct Crash {
  std::uint32_t slot = 0;
  int signal = 0, code = 0;
  std::uint64_t address = 0;
  std::int32_t sender = 0;  // pid; 0: it is a fault, nobody sent it
  std::uint32_t thread = 0;
  std::uint64_t time_ms = 0;  // Unix time, by the worker's word
  bool contained = false;
  bool has_request = false;
  std::string label;  // of the request
  std::uint64_t age_ms = 0;
  std::uint64_t in_flight = 0;
  std::vector<std::string> domains;  // innermost first
  std::vector<Address> frames;
  bool complete = false;  // false: the handler did not come to its end (yet)
};

// A thread that has called beat().
struct Beat {
  std::uint32_t thread = 0;
  std::uint64_t age_ms = 0;
};

// reforkd's side. Reads what an untrusted process writes: everything is bounded, nothing is mapped; a damaged
// file gives an error or less data, never more.
class Reader {
 public:
  static base::Result<Reader> create(const Identity& identity);  // a new one, a sealed memfd
  static base::Result<Reader> adopt(base::UniqueFd fd);          // one of an earlier reforkd, if it is one

  base::Result<void> assign(const Identity& identity) const;  // to another worker, before that starts

  int fd() const noexcept { return fd_.get(); }
  base::Result<Identity> identity() const;
  base::Result<Counters> counters() const;                // reads the whole table of requests
  bool has_timeouts() const;                              // a request was given a timeout of its own
  bool shows_query() const;                               // false, too, if it cannot be read
  base::Result<std::vector<InFlight>> in_flight() const;  // oldest first; what is never ended by then was cut
  base::Result<std::vector<StoredRecord>> records() const;  // those ready, oldest first
  std::vector<DroppedRecords> dropped() const;
  std::vector<Beat> beats() const;  // of the threads that ever beat and still live
  // Fatal signals, even if a handler was cut short: those that were contained, and the one it dies of. What
  // names one for good is its slot.
  std::vector<Crash> crashes() const;
  std::optional<Crash> crash() const;  // the first of them

  // Whether the worker's threads may be sent stacks_signal(): a worker without librefork dies of it.
  bool answers_stacks() const;
  // A new demand for stacks, to be followed by the signals; its number. What thread_stacks() tells is the
  // answer to the latest demand, ours or the worker's own, as far as it has come.
  base::Result<std::uint32_t> want_stacks() const;
  std::vector<ThreadStack> thread_stacks() const;

  std::uint32_t torn() const;  // slots left half-written, or never sound; meaningful once the worker is dead
  void release(std::uint32_t slot,
               std::uint64_t sequence) const;  // frees a record, unless it was replaced meanwhile

 private:
  explicit Reader(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace refork::recorder
