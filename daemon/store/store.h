#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/records.h"
#include "core/service_config.h"
#include "core/status.h"

namespace refork::store {

// Failures and ends in SQLite (STATE_DIR/refork.db), written by a thread of its own, so that an fsync never
// delays a fork. All members are for the main thread; results come back through fd() and dispatch(). Nothing
// here throws, or blocks the caller but where it says so.
//
// When the file cannot be written (disk full, read-only, corrupt) the newest rows stay in memory, up to
// max_waiting, and are written once it can be; status() says so. A corrupt file is renamed to
// refork.db.corrupt-TIME, never deleted.
class Store {
 public:
  static constexpr std::size_t max_waiting = 4096;

  // Never fails: a directory that cannot be used gives a degraded store. The file is opened by the store's
  // thread, which waits up to a second for a lock; what is asked and added until then waits for it.
  static std::unique_ptr<Store> open(const std::string& state_dir, core::StoreConfig config);
  virtual ~Store() = default;

  virtual int fd() const noexcept = 0;  // readable: call dispatch()
  virtual void dispatch() = 0;          // runs the callbacks of what was done meanwhile

  // Idempotent by id (a higher revision replaces). `stored` is called once the row is safe on disk; not at
  // all while it is not, so that the caller keeps it elsewhere too; also if an operator clears it before.
  virtual void add(core::FailureRow row, std::function<void()> stored) = 0;
  // One row a process; completes all failures of that worker with drain and exit.
  virtual void end(core::EndRow row, std::function<void()> stored) = 0;

  template <class T>
  using Reply = std::function<void(base::Result<T>)>;
  // JSON objects of the shape of `reforkctl failures --json`, newest first, 16 MiB at most; those still in
  // memory included. Errors: ENOENT, EINVAL, EBUSY (more questions wait than the queue holds), ESHUTDOWN
  // (closed), EIO, ….
  virtual void list(core::FailureFilter filter, Reply<std::vector<std::string>> reply) = 0;
  // The same failures by their fingerprint, the most frequent first, then those seen last: JSON objects with
  // the members of `reforkctl failures top --json`. The same limits and errors as for list().
  virtual void top(core::FailureFilter filter, Reply<std::vector<std::string>> reply) = 0;
  virtual void show(std::string id_prefix, Reply<std::string> reply) = 0;  // ENOENT, EINVAL if ambiguous
  virtual void clear(std::string service, Reply<std::uint64_t> reply) = 0;

  // Worker ids only grow, over restarts too: ids up to this one may have been used. Read once, at start.
  // The one member that waits for the disk.
  virtual std::uint64_t last_worker_id() const = 0;
  virtual void reserve_worker_ids(std::uint64_t up_to) = 0;

  virtual core::StoreStatus status() const = 0;
  virtual std::function<void()>& on_status_change() = 0;
  // Writes what is waiting, for up to 5 s, stops the thread and gives the file back. A dispatch() after it
  // makes the last calls; rows added after it are dropped.
  virtual void close() = 0;
};

}  // namespace refork::store
