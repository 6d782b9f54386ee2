#pragma once

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>

// The flight recorder: a memfd of fixed size that a worker maps and reforkd reads. What stands in it outlives
// both. Version 4, native byte order:
//
//   page 0                 Header
//   requests_offset        Request[request_count]     the requests in flight
//   records_offset         Record[record_count]       failure records that reforkd has not stored yet
//   crash_offset           CrashSlot[crash_count]     fatal signals: those that were contained, and the last
//   modules_offset         ModuleSlot[module_count]   what the addresses of stacks refer to
//   threads_offset         ThreadSlot[thread_count]   stacks of threads, on demand
//
// The worker writes, lock-free; reforkd reads with pread(2), never through a mapping, because the worker is
// not trusted: it can write anything (bounds are checked, text is made valid UTF-8), and nothing is to depend
// on the seals (a short read is none). reforkd writes in three places only, with pwrite(2): the identity,
// before the worker starts; Record::state, to free a record once it is stored; and Header::stacks_wanted, to
// ask for stacks.
namespace refork::recorder {

inline constexpr char magic[8] = {'R', 'F', 'K', 'R', 'E', 'C', '0', '1'};
inline constexpr std::uint32_t layout_version = 4;
inline constexpr std::size_t page_size = 4096;
inline constexpr std::size_t label_size = 192;  // bytes, the terminating 0 included
inline constexpr std::uint32_t request_count =
    1024;  // requests in flight that have a name; more are only counted
inline constexpr std::uint32_t record_count = 64;  // failures not yet stored
inline constexpr std::size_t record_size = 16384;  // bytes of one record slot, its header included
inline constexpr std::size_t dropped_count = 16;   // fingerprints of records that found no slot
inline constexpr std::uint32_t beat_count = 32;    // threads that beat
inline constexpr std::uint32_t crash_count = 8;
inline constexpr std::uint32_t module_count = 128;
inline constexpr std::uint32_t thread_count = 64;  // threads whose stack is kept
inline constexpr std::size_t crash_frames = 128, thread_frames = 124;
inline constexpr std::size_t crash_domains = 1024;  // bytes of the names of the domains active at a crash
inline constexpr std::size_t thread_name_size = 16;
inline constexpr std::size_t module_path_size = 456;
inline constexpr std::size_t module_build_id_size = 32;

// The signal at which librefork writes its thread's stack to a ThreadSlot. Only for a worker whose
// Header::answers_stacks is 1: others die of it.
inline int stacks_signal() noexcept { return SIGRTMAX - 3; }

// Who the worker is; written by reforkd, trusted only when the same reforkd wrote it.
struct Identity {
  std::uint64_t worker;  // id
  std::uint32_t slot;
  std::uint32_t generation;
  std::uint64_t started_ms;  // Unix time
  char service[64];          // 0-terminated
};

struct Dropped {
  std::atomic<std::uint64_t> fingerprint;  // 0: this and all later entries are unused
  std::atomic<std::uint64_t> count;
};

// A thread that says that it is alive. Taken by writing the tid into a slot where it is 0; 0 again once the
// thread has ended.
struct BeatSlot {
  std::atomic<std::uint32_t> thread;
  std::uint32_t unused;
  std::atomic<std::uint64_t> at_ns;  // CLOCK_MONOTONIC_COARSE
};

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t header_size;  // sizeof(Header)
  std::uint32_t request_count, request_size;
  std::uint32_t record_count, record_size;
  std::uint64_t requests_offset, records_offset, total_size;
  Identity identity;
  // The worker's:
  std::atomic<std::int32_t> pid;        // 0 until librefork has attached
  std::atomic<std::uint32_t> draining;  // 1 from the moment the drain has begun
  std::atomic<std::uint64_t> unnamed;   // requests in flight beyond request_count
  std::atomic<std::uint64_t> unnamed_served;
  std::atomic<std::uint64_t> crossed;          // requests lost to a connection closed after its lame duck
  std::atomic<std::uint64_t> record_sequence;  // the last one given to a record, from 1
  std::atomic<std::uint64_t> dropped_total;    // records that found no free slot
  Dropped dropped[dropped_count];
  std::atomic<std::uint32_t> shows_query;  // 1: the application means the queries in its labels to be seen
  // The number of the latest demand for stacks, by reforkd or by the worker itself; ThreadSlots answer it.
  std::atomic<std::uint32_t> stacks_wanted;
  std::atomic<std::uint32_t> answers_stacks;  // 1: its threads may be sent stacks_signal()
  std::atomic<std::uint32_t> modules_used;    // how many module slots were given away
  BeatSlot beats[beat_count];
  std::atomic<std::uint32_t> has_timeouts;  // 1: a request was given a timeout of its own
  std::uint32_t unused;
};
static_assert(sizeof(Header) <= page_size);

// Request::state: even is free, odd is in flight; it grows by one at each begin and each end, so half of it,
// rounded down, is the number of requests served here. 256 bytes each: no two threads share a cache line. The
// other members are atomic because a thread may look at an entry that another one ends; only `state` orders
// anything. A request just begun has no label yet: label_length is written last.
struct alignas(256) Request {
  std::atomic<std::uint64_t> state;
  std::atomic<std::uint64_t> start_ns;  // CLOCK_MONOTONIC_COARSE
  std::atomic<std::uint64_t> domain;    // domain::number(), 0 for none
  std::atomic<std::uint32_t> thread;    // tid that began it
  std::atomic<std::uint32_t> label_length;
  std::atomic<std::uint64_t> label[label_size / 8];  // bytes of text, cut at a UTF-8 boundary
  std::atomic<std::uint32_t> timeout_ms;             // its own; 0: the service's
};
static_assert(sizeof(Request) == 256);

enum class RecordState : std::uint32_t {
  free = 0,
  writing = 1,
  ready = 2
};

// Record::state is the only word both sides write: free -> writing (worker, by compare-exchange) -> ready
// (worker, release) -> free (reforkd, once stored). A slot found `writing` when its worker is dead is torn,
// and counted.
struct Record {
  std::atomic<std::uint32_t> state;  // RecordState
  std::uint32_t length;              // bytes of json
  std::uint64_t sequence;            // order in which the records were made
  char json[record_size - 16];       // a failure record, proto/record.h
};
static_assert(sizeof(Record) == record_size);

// An instruction: of the fault itself, or of a call (one before the return address).
struct Place {
  std::uint64_t offset;  // in the module, as in its file; with no_module an absolute address
  std::uint32_t module;  // index of a ModuleSlot
  std::uint32_t unused;
};
inline constexpr std::uint32_t no_module = 0xFFFFFFFF;

// Written once, by whoever took its number from Header::modules_used.
struct ModuleSlot {
  std::atomic<std::uint32_t> state;  // 1 once the rest is there
  std::uint32_t build_id_length;     // bytes; 0: none known
  std::uint64_t bias;                // from an address in the file to one in memory
  unsigned char build_id[module_build_id_size];
  std::uint32_t path_length;
  std::uint32_t unused;
  char path[module_path_size];
};
static_assert(sizeof(ModuleSlot) == 512);

// A thread's answer to a demand for stacks. `state` is twice the demand's number while it is being written,
// and one more when it is complete.
struct ThreadSlot {
  std::atomic<std::uint64_t> state;
  std::uint32_t thread;
  std::uint32_t request;  // index of the one that this thread handles; request_count: none
  std::uint64_t request_state;
  char name[thread_name_size];
  std::atomic<std::uint32_t> frame_count;
  std::uint32_t unused[5];
  Place frames[thread_frames];
};
static_assert(sizeof(ThreadSlot) == 2048);

enum class CrashState : std::uint32_t {
  none = 0,
  writing = 1,   // taken; says nothing yet
  known = 2,     // the fault itself is there, what follows it perhaps not: the handler may fault, too
  complete = 3,  // all is there that could be found out
};

// A fatal signal that the process dies of, or contains until it has drained. The one thread that takes it
// (none -> writing) writes it from top to bottom.
struct CrashSlot {
  std::atomic<std::uint32_t> state;  // CrashState
  std::int32_t signal;
  std::int32_t code;    // si_code
  std::int32_t sender;  // pid, where somebody sent it; 0: nobody
  std::uint64_t address;
  std::uint64_t time_ms;  // Unix time
  std::uint32_t thread;
  std::uint32_t contained;  // 1: the other threads finish what they have
  // With state `complete`, or as far as they were written (all is 0 before):
  std::uint64_t age_ms;  // of the request
  std::uint64_t in_flight;
  std::atomic<std::uint32_t> label_length;
  std::atomic<std::uint32_t> domains_length;
  std::atomic<std::uint32_t> frame_count;
  std::uint32_t has_request;
  char label[label_size];       // of the request
  char domains[crash_domains];  // names, innermost first, each followed by a newline
  Place frames[crash_frames];
  std::uint64_t unused[95];
};
static_assert(sizeof(CrashSlot) == 4096);

inline constexpr std::size_t requests_offset = page_size;
inline constexpr std::size_t records_offset = requests_offset + request_count * sizeof(Request);
inline constexpr std::size_t crash_offset = records_offset + record_count * sizeof(Record);
inline constexpr std::size_t modules_offset = crash_offset + crash_count * sizeof(CrashSlot);
inline constexpr std::size_t threads_offset = modules_offset + module_count * sizeof(ModuleSlot);
inline constexpr std::size_t total_size = threads_offset + thread_count * sizeof(ThreadSlot);
static_assert(total_size % page_size == 0);

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace refork::recorder
