// The worker's hand in its flight recorder: a few stores a request, into lines that no other thread writes.
// It never waits, never allocates once attached, and believes reforkd but nobody else.

#include "recorder/writer.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "base/utf8.h"
#include "recorder/file.h"

namespace refork::recorder {
namespace {

using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using std::memory_order_seq_cst;

// A token is the state of an entry while the request is in flight, which never comes again, and the entry's
// index. An odd state makes it differ from 0 and from the token that only counts.
constexpr unsigned index_bits = 10;
static_assert(request_count == 1u << index_bits);
constexpr std::uint64_t unnamed_token = std::uint64_t{1} << 63;

constexpr std::uint64_t token_of(std::uint64_t state, std::uint32_t index) {
  return state << index_bits | index;
}
constexpr std::uint32_t index_of(std::uint64_t token) {
  return static_cast<std::uint32_t>(token % request_count);
}
constexpr std::uint64_t state_of(std::uint64_t token) { return token >> index_bits; }
constexpr bool in_flight_state(std::uint64_t state) { return state % 2 == 1; }

// Threads begin their search at places of their own and then return to the entry they used last, which is
// still in their cache.
constexpr std::uint32_t no_entry = request_count;
constexpr std::uint32_t neighbourhood = 16;
__attribute__((tls_model("initial-exec"))) thread_local std::uint32_t last_entry = no_entry;
__attribute__((tls_model("initial-exec"))) thread_local std::uint32_t thread_id = 0;

std::uint32_t first_entry() noexcept {
  static std::atomic<std::uint32_t> threads{0};
  return threads.fetch_add(1, memory_order_relaxed) * neighbourhood % request_count;
}

std::uint32_t current_thread() noexcept {
  if (thread_id == 0) thread_id = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  return thread_id;
}

// A forked child's only thread has another id than the one it was copied from.
void forget_thread() noexcept { thread_id = 0; }

std::uint64_t coarse_now_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

void write_label(Request& request, std::string_view label) noexcept {
  label = base::utf8_prefix(label, label_size - 1);
  for (std::size_t at = 0; at < label.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, label.data() + at, std::min<std::size_t>(8, label.size() - at));
    request.label[at / 8].store(word, memory_order_release);
  }
  request.label_length.store(static_cast<std::uint32_t>(label.size()), memory_order_release);
}

void read_label(const Request& request, char (&label)[label_size]) noexcept {
  const std::size_t length =
      std::min<std::size_t>(request.label_length.load(memory_order_acquire), label_size - 1);
  for (std::size_t at = 0; at < length; at += 8) {
    const std::uint64_t word = request.label[at / 8].load(memory_order_acquire);
    std::memcpy(label + at, &word, std::min<std::size_t>(8, length - at));
  }
  label[length] = 0;
}

// The state the entry has from now on, or 0 if it is taken.
std::uint64_t claim(Request& request) noexcept {
  std::uint64_t state = request.state.load(memory_order_relaxed);
  if (in_flight_state(state)) return 0;
  return request.state.compare_exchange_strong(state, state + 1, memory_order_acquire, memory_order_relaxed)
             ? state + 1
             : 0;
}

}  // namespace

Writer::Writer(Header* header) noexcept : header_(header) {
  header_->pid.store(static_cast<std::int32_t>(::getpid()), memory_order_release);
}

Writer* Writer::over(void* mapping) {
  static std::atomic<Writer*> all{nullptr};
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_thread);
  static_cast<void>(registered);
  auto* writer = new Writer(static_cast<Header*>(mapping));
  writer->next_ = all.load(memory_order_relaxed);
  while (!all.compare_exchange_weak(writer->next_, writer, memory_order_release, memory_order_relaxed)) {
  }
  return writer;
}

base::Result<Writer*> Writer::attach(base::UniqueFd fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return base::errno_error("look at the flight recorder");
  if (status.st_size < static_cast<off_t>(total_size))
    return base::Error{EPROTO, "the flight recorder has " + std::to_string(status.st_size) +
                                   " bytes, expected " + std::to_string(total_size)};
  void* mapping = ::mmap(nullptr, total_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapping == MAP_FAILED) return base::errno_error("map the flight recorder");
  if (const auto good = check(*static_cast<Header*>(mapping)); !good) {
    ::munmap(mapping, total_size);
    return base::Error{good.error().code, "the flight recorder cannot be used: " + good.error().what};
  }
  return over(mapping);
}

base::Result<Writer*> Writer::make_private() {
  void* mapping = ::mmap(nullptr, total_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return base::errno_error("get memory for a flight recorder");
  initialise(*static_cast<Header*>(mapping));
  return over(mapping);
}

Request& Writer::request(std::uint32_t index) const noexcept {
  char* table = reinterpret_cast<char*>(header_) + requests_offset;
  return reinterpret_cast<Request*>(table)[index];
}

Record& Writer::record_slot(std::uint32_t index) const noexcept {
  char* ring = reinterpret_cast<char*>(header_) + records_offset;
  return reinterpret_cast<Record*>(ring)[index];
}

std::uint64_t Writer::begin(std::string_view label, std::uint64_t domain, std::uint32_t timeout_ms) noexcept {
  if (last_entry == no_entry) last_entry = first_entry();
  for (std::uint32_t tried = 0; tried < request_count; ++tried) {
    const std::uint32_t index = (last_entry + tried) % request_count;
    Request& entry = request(index);
    const std::uint64_t state = claim(entry);
    if (state == 0) continue;
    // Not the label of an earlier request, should the process die in the next lines.
    entry.label_length.store(0, memory_order_release);
    entry.start_ns.store(coarse_now_ns(), memory_order_release);
    entry.domain.store(domain, memory_order_relaxed);
    entry.thread.store(current_thread(), memory_order_relaxed);
    entry.timeout_ms.store(timeout_ms, memory_order_relaxed);
    note_timeout(timeout_ms);
    write_label(entry, label);
    last_entry = index;
    return token_of(state, index);
  }
  header_->unnamed.fetch_add(1, memory_order_relaxed);
  return unnamed_token;
}

void Writer::end(std::uint64_t token) noexcept {
  if (token == unnamed_token) {
    std::uint64_t count = header_->unnamed.load(memory_order_relaxed);
    while (count > 0 && !header_->unnamed.compare_exchange_weak(count, count - 1, memory_order_seq_cst,
                                                                memory_order_relaxed)) {
    }
    if (count > 0) header_->unnamed_served.fetch_add(1, memory_order_relaxed);
    return;
  }
  std::uint64_t state = state_of(token);
  if (!in_flight_state(state)) return;
  const std::uint32_t index = index_of(token);
  if (request(index).state.compare_exchange_strong(state, state + 1, memory_order_seq_cst,
                                                   memory_order_relaxed))
    last_entry = index;
}

// Written once, for all cores share the line.
bool Writer::note_timeout(std::uint32_t timeout_ms) noexcept {
  return timeout_ms != 0 && !has_timeouts() && header_->has_timeouts.exchange(1) == 0;
}

bool Writer::has_timeouts() const noexcept { return header_->has_timeouts.load(memory_order_relaxed) != 0; }

bool Writer::set_timeout(std::uint64_t token, std::uint32_t timeout_ms) noexcept {
  const std::uint64_t state = state_of(token);
  if (token == unnamed_token || !in_flight_state(state)) return false;
  Request& entry = request(index_of(token));
  if (entry.state.load(memory_order_acquire) != state) return false;
  entry.timeout_ms.store(timeout_ms, memory_order_relaxed);
  return note_timeout(timeout_ms);
}

// Another thread may end the request meanwhile, and a next one overwrite its entry: what was read counts only
// if the state is still the same afterwards.
bool Writer::describe(std::uint64_t token, RequestInfo& info) const noexcept {
  const std::uint64_t state = state_of(token);
  if (token == unnamed_token || !in_flight_state(state)) return false;
  const Request& entry = request(index_of(token));
  if (entry.state.load(memory_order_acquire) != state) return false;
  read_label(entry, info.label);
  const std::uint64_t start = entry.start_ns.load(memory_order_acquire), now = coarse_now_ns();
  info.age_ms = now > start ? (now - start) / 1'000'000u : 0;
  return entry.state.load(memory_order_relaxed) == state;
}

std::uint64_t Writer::in_flight() const noexcept {
  std::uint64_t count = header_->unnamed.load(memory_order_acquire);
  for (std::uint32_t i = 0; i < request_count; ++i)
    if (in_flight_state(request(i).state.load(memory_order_seq_cst))) ++count;
  return count;
}

std::uint64_t Writer::request_of(std::uint32_t thread, bool only) const noexcept {
  std::uint64_t found = 0, started = 0;
  for (std::uint32_t i = 0; i < request_count; ++i) {
    const Request& entry = request(i);
    const std::uint64_t state = entry.state.load(memory_order_acquire);
    if (!in_flight_state(state) || entry.thread.load(memory_order_relaxed) != thread) continue;
    if (found != 0 && only) return 0;
    if (const auto start = entry.start_ns.load(memory_order_relaxed); found == 0 || start > started) {
      found = token_of(state, i);
      started = start;
    }
  }
  return found;
}

std::uint32_t Writer::index_of_token(std::uint64_t token) noexcept {
  return token == 0 || token == unnamed_token ? request_count : index_of(token);
}
std::uint64_t Writer::state_of_token(std::uint64_t token) noexcept { return state_of(token); }

void Writer::crossed() noexcept { header_->crossed.fetch_add(1, memory_order_relaxed); }

void Writer::set_draining() noexcept { header_->draining.store(1, memory_order_release); }

void Writer::set_shows_query() noexcept { header_->shows_query.store(1, memory_order_release); }

bool Writer::try_record(std::string_view json, std::uint32_t spare) noexcept {
  for (std::uint32_t i = 0; json.size() <= sizeof(Record::json) && i + spare < record_count; ++i) {
    Record& slot = record_slot(i);
    auto state = static_cast<std::uint32_t>(RecordState::free);
    if (!slot.state.compare_exchange_strong(state, static_cast<std::uint32_t>(RecordState::writing),
                                            memory_order_acquire, memory_order_relaxed))
      continue;
    slot.sequence = header_->record_sequence.fetch_add(1, memory_order_relaxed) + 1;
    slot.length = static_cast<std::uint32_t>(json.size());
    std::memcpy(slot.json, json.data(), json.size());
    slot.state.store(static_cast<std::uint32_t>(RecordState::ready), memory_order_release);
    return true;
  }
  return false;
}

bool Writer::record(std::string_view json, std::uint64_t fingerprint) noexcept {
  if (try_record(json)) return true;
  count_dropped(fingerprint);
  return false;
}

void Writer::count_dropped(std::uint64_t fingerprint) noexcept {
  header_->dropped_total.fetch_add(1, memory_order_relaxed);
  if (fingerprint == 0) return;
  for (Dropped& dropped : header_->dropped) {
    std::uint64_t owner = dropped.fingerprint.load(memory_order_relaxed);
    if (owner == 0 && dropped.fingerprint.compare_exchange_strong(owner, fingerprint, memory_order_relaxed))
      owner = fingerprint;
    if (owner != fingerprint) continue;
    dropped.count.fetch_add(1, memory_order_relaxed);
    return;
  }
}

}  // namespace refork::recorder
