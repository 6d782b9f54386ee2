#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recorder/layout.h"

namespace refork::recorder {

// The worker's side of a flight recorder. Thread-safe and lock-free throughout; the mapping lasts as long as
// the process, so that a token of an ended Worker stays harmless.
class Writer {
 public:
  // Maps what reforkd made; checks magic, version and size.
  static base::Result<Writer*> attach(base::UniqueFd fd);
  // Without reforkd: an anonymous one of the same layout.
  static base::Result<Writer*> make_private();

  // A request begins: a token for end() and describe(), never 0. A timeout of 0 is the service's.
  std::uint64_t begin(std::string_view label, std::uint64_t domain, std::uint32_t timeout_ms = 0) noexcept;
  // Whether it is the first: somebody has to look after them from now on.
  bool set_timeout(std::uint64_t token, std::uint32_t timeout_ms) noexcept;
  bool has_timeouts() const noexcept;
  // A second end of the same token does nothing. Beyond request_count requests at once a token only counts,
  // and is like all others of its kind; the count never falls below 0.
  void end(std::uint64_t token) noexcept;
  struct RequestInfo {
    char label[label_size];  // 0-terminated
    std::uint64_t age_ms;
  };
  bool describe(std::uint64_t token,
                RequestInfo& info) const noexcept;  // false once it has ended, or unnamed
  std::uint64_t in_flight() const noexcept;         // a scan of the table
  void crossed() noexcept;
  void set_draining() noexcept;
  void set_shows_query() noexcept;

  // This thread lives: noted under its id until it ends. More than beat_count threads are not noted.
  void beat() noexcept;

  // What follows is for handlers of signals: nothing of it locks, allocates, or fails otherwise.
  CrashSlot* take_crash() noexcept;  // nullptr when all are taken
  const ModuleSlot* modules() const noexcept { return &module_slot(0); }
  // A slot in which this thread answers the latest demand for stacks, once for each; nullptr if it has
  // answered, if nobody demanded, or if there is no more place. finish_stack() makes the answer visible.
  ThreadSlot* take_stack(std::uint32_t thread) noexcept;
  void finish_stack(ThreadSlot& slot) noexcept;
  std::uint32_t want_stacks() noexcept;  // the process's own demand; its number
  std::size_t stacks_answered(std::uint32_t number) const noexcept;
  void set_answers_stacks(bool answers) noexcept;
  // A module for Place::module; no_module when all slots are taken.
  std::uint32_t add_module(std::string_view path, const unsigned char* build_id, std::size_t build_id_length,
                           std::uint64_t bias) noexcept;
  // The request that this thread began last of those it has in flight; 0 for none. Only if it has but one,
  // where `only`.
  std::uint64_t request_of(std::uint32_t thread, bool only) const noexcept;
  // The place of a token in the table, for ThreadSlot.
  static std::uint32_t index_of_token(std::uint64_t token) noexcept;
  static std::uint64_t state_of_token(std::uint64_t token) noexcept;
  // Calls visit(thread) for each request in flight.
  template <class Visit>
  void for_each_in_flight(const Visit& visit) const noexcept {
    for (std::uint32_t i = 0; i < request_count; ++i)
      if (const Request& entry = request(i); entry.state.load(std::memory_order_acquire) % 2 == 1)
        visit(entry.thread.load(std::memory_order_relaxed));
  }

  // Stores a record, 16,368 bytes at most, and returns true; false if it finds no place, the last `spare` of
  // which are not for it.
  bool try_record(std::string_view json, std::uint32_t spare = 0) noexcept;
  // The same; one that finds no place is lost, and counted under its fingerprint.
  bool record(std::string_view json, std::uint64_t fingerprint) noexcept;

 private:
  bool note_timeout(std::uint32_t timeout_ms) noexcept;
  explicit Writer(Header* header) noexcept;
  static Writer* over(void* mapping);
  Request& request(std::uint32_t index) const noexcept;
  Record& record_slot(std::uint32_t index) const noexcept;
  CrashSlot& crash_slot(std::uint32_t index) const noexcept;
  ModuleSlot& module_slot(std::uint32_t index) const noexcept;
  ThreadSlot& thread_slot(std::uint32_t index) const noexcept;
  void count_dropped(std::uint64_t fingerprint) noexcept;

  Header* header_;
  Writer* next_ = nullptr;  // all of a process stay reachable, as their mappings do
};

}  // namespace refork::recorder
