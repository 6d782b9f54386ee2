#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

// The flight recorder: a file of fixed size, on a tmpfs, that a worker maps and reforkd reads. What stands in
// it outlives both. Version 2, native byte order:
//
//   page 0                 Header
//   requests_offset        Request[request_count]     the requests in flight
//   records_offset         Record[record_count]       failure records that reforkd has not stored yet
//
// The worker writes, lock-free; reforkd reads with pread(2), never through a mapping, because the worker is
// not trusted: it can truncate the file (short read) or write anything (bounds are checked, text is made
// valid UTF-8). reforkd writes in two places only, with pwrite(2): the identity, before the worker starts,
// and Record::state, to free a record once it is stored.
namespace refork::recorder {

inline constexpr char magic[8] = {'R', 'F', 'K', 'R', 'E', 'C', '0', '1'};
inline constexpr std::uint32_t layout_version = 2;
inline constexpr std::size_t page_size = 4096;
inline constexpr std::size_t label_size = 192;  // bytes, the terminating 0 included
inline constexpr std::uint32_t request_count =
    1024;  // requests in flight that have a name; more are only counted
inline constexpr std::uint32_t record_count = 64;  // failures not yet stored
inline constexpr std::size_t record_size = 16384;  // bytes of one record slot, its header included
inline constexpr std::size_t dropped_count = 16;   // fingerprints of records that found no slot

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

inline constexpr std::size_t requests_offset = page_size;
inline constexpr std::size_t records_offset = requests_offset + request_count * sizeof(Request);
inline constexpr std::size_t total_size = records_offset + record_count * sizeof(Record);

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
              std::atomic<std::uint32_t>::is_always_lock_free);

}  // namespace refork::recorder
