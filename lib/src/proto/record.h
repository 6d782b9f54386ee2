#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/enum_names.h"
#include "base/result.h"
#include "refork/failure.hpp"

namespace refork::base {
template <>
struct EnumNames<Kind> {
  static constexpr std::array<std::string_view, 12> names = {"exception", "error",    "signal",   "terminate",
                                                             "hang",      "timeout",  "deadline", "oom",
                                                             "exit",      "protocol", "boot",     "handler"};
};
static_assert(index(Kind::handler) + 1 == enum_count<Kind>);
template <>
struct EnumNames<Then> {
  static constexpr std::array<std::string_view, 2> names = {"drain", "serve"};
};
}  // namespace refork::base

namespace refork::proto {

struct Frame {
  std::string function;      // empty: not known
  std::string file;          // empty: not known
  std::uint32_t line = 0;    // 0: not known
  std::string module;        // path of the executable or shared object
  std::uint64_t offset = 0;  // in it, as in the file: of the call, one before the return address
  bool in_app = false;       // neither librefork nor a system library
};

struct RequestRef {
  std::string label;
  std::uint64_t age_ms = 0;
  std::vector<Frame> stack = {};  // of its thread, where the request was cut; only in Outcome::cut
};

// What a signal said of itself.
struct Fault {
  int signal = 0;
  int si_code = 0;
  std::uint64_t address = 0;  // where it was, of a memory fault
  std::int32_t sender = 0;    // the process that sent it; 0: none, or not known
};

struct ThreadStack {
  std::uint32_t tid = 0;
  std::string name;
  std::string request;  // the label of the one it is in; empty: none
  std::vector<Frame> stack;
};

// One failure, as it is recorded, stored and shown: the fixed shape of `reforkctl failures --json`, less what
// only the end of the worker's drain tells (Outcome, below). JSON fields have the members' names; `request`
// is null without one.
struct FailureRecord {
  std::string id;
  std::uint32_t revision = 1;  // a higher one amends a record of the same id
  std::uint64_t time_ms = 0;   // Unix time
  std::string service;  // service, slot, worker and pid are filled in by reforkd, whatever a worker claims
  std::uint32_t slot = 0;
  std::uint64_t worker = 0;
  std::int32_t pid = 0;
  Kind kind = Kind::exception;
  std::string type, message;
  std::vector<Cause> causes;
  std::string domain;
  std::vector<std::string> domains;
  bool thrown = true;
  std::string emitter, bound;
  bool rethrown = false;
  std::optional<RequestRef> request;
  std::vector<std::pair<std::string, std::string>> context;
  std::vector<Frame> stack;
  std::vector<std::pair<std::string, std::string>> build_ids;  // module of the stack -> its build-id, in hex
  std::string fingerprint;                                     // 16 hex digits
  std::uint64_t count = 1;                            // identical failures that this record stands for
  std::optional<std::uint64_t> in_flight_at_failure;  // nothing: nobody knows
  Then then = Then::drain;                            // what the worker's author wants to follow
  std::optional<Fault> fault;
  std::vector<ThreadStack> threads;  // of a process that was looked at as a whole, those with a request first
  std::string output_tail;           // the last lines its process wrote
  bool unnamed = false;  // refork-symbolizer was asked for the names of its stacks and gave none of one
};

// How a worker's drain and its process ended; completes the records of its failures.
struct Outcome {
  std::string requested;  // error | operator | reload | recycle | stop; empty: nobody asked
  std::string outcome;    // clean | deadline | died; empty: there was no drain
  std::uint64_t duration_ms = 0, completed = 0, crossed = 0;
  std::vector<RequestRef> cut;
  bool counted = true;  // false: completed, crossed and cut are not known, as it does not link librefork
  std::optional<int> exit_code, exit_signal;
  bool core = false;
  std::string core_file;  // empty: there is none, or it is not known where
};

// Limits of a record; what is longer is cut, the end marked with an ellipsis.
inline constexpr std::size_t max_message = 4096, max_type = 512, max_causes = 8, max_frames = 128,
                             max_context = 32, max_domains = 16, max_value = 512, max_build_ids = 32,
                             max_build_id = 64,  // hex digits
    max_threads = 64, max_thread_name = 64, max_output_tail = 8192, max_output_lines = 40;
inline constexpr std::size_t max_record_text = 65536;    // bytes that decode_record() looks at
inline constexpr std::size_t least_record_limit = 4096;  // an encoded record can always be cut to this size

bool is_build_id(std::string_view text) noexcept;  // hex digits in lower case, whole bytes

// The last lines of what a process wrote, as text that is safe to show.
std::string output_end(std::string_view text, std::size_t lines, std::size_t bytes);

// What encode() writes and decode_record() yields: every part cut to its limit, all text valid UTF-8 without
// control characters (the messages keep newlines and tabs). Idempotent.
FailureRecord within_limits(FailureRecord record);

// Pure. encode() yields at most `limit` bytes (least_record_limit or more): where it would be more, context,
// then threads and what they did long ago, then the output but its end, then frames from the bottom, then the
// message, then the rest are cut. Fields that do not apply are null;
// bytes that are no UTF-8 are replaced.
std::string encode(const FailureRecord& record, std::size_t limit = 16368);
base::Result<FailureRecord> decode_record(
    std::string_view json);  // from an untrusted worker: bounded, checked
// {"requested","outcome","duration_ms","completed","crossed","cut":[…]} and
// {"code","signal","core","core_file"}.
std::string encode_drain(const Outcome& outcome);
std::string encode_exit(const Outcome& outcome);

}  // namespace refork::proto
