// The store's policy. Every row goes into memory first and from there to the file, in one transaction for all
// that wait; a file that cannot be written only means that they wait longer, so trouble has no road of its
// own.
#include "store/engine.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "store/file.h"
#include "store/schema.h"
#include "store/store.h"

namespace refork::store {
namespace {

std::uint64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

// Where worker ids go on when those used before cannot be known: seconds since 1970. Less than one worker a
// second starts in the long run, so this lies above whatever was given out, from 1 or from an earlier such
// start.
std::uint64_t ids_by_time() { return unix_ms() / 1000; }

std::string newer_version(const std::string& path) {
  return path + " was written by a newer reforkd; expected version " + std::to_string(migrations().size()) +
         " of it or an older one. It is left as it is";
}

int to_errno(int code) {
  switch (code) {
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_BUSY:
      return EBUSY;
    default:
      return EIO;
  }
}

}  // namespace

Engine::Engine(std::string state_dir, core::StoreConfig config, Settle settle)
    : state_dir_(std::move(state_dir)), config_(config), settle_(std::move(settle)) {
  status_.path = state_dir_ + "/refork.db";
}

void Engine::open(Clock::time_point now) {
  std::uint64_t found = 0;
  const bool readable = attach() && attempt([&] { return tables_.last_worker_id(found); });
  const bool replaced = !status_.why.empty();
  // The write shows at once whether rows can be stored, and whether ids that are reserved will be known next
  // time.
  const bool writable = readable && try_write(now);
  last_worker_id_ = writable && !replaced ? found : std::max(found, ids_by_time());
  reserve_worker_ids(last_worker_id_);
  if (writable && replaced)
    try_write(now);
  else if (writable)
    written_ids_ = last_worker_id_;
}

bool Engine::attach() {
  attached_ = false;
  const auto path = database_path(state_dir_);
  if (!path) return trouble(path.error().what), false;
  status_.path = *path;
  const auto version = prepare_file(*path);
  if (!version) return trouble(version.error().what), false;
  if (*version > migrations().size()) return trouble(newer_version(*path)), false;
  const auto attached = tables_.attach(*path);
  if (attached == Tables::Attach::newer) return trouble(newer_version(*path)), false;
  attached_ = attached == Tables::Attach::ok;
  reattach_ = false;
  if (attached_) return true;
  const auto failed = tables_.connection().failed();
  if (failed && (failed->code == SQLITE_CORRUPT || failed->code == SQLITE_NOTADB))
    return replace_corrupt_file();
  trouble(words("open"));
  return false;
}

void Engine::detach() {
  attached_ = false;
  tables_.detach();
}

bool Engine::replace_corrupt_file() {
  detach();
  const auto aside = set_aside(status_.path);
  if (!aside) return trouble(aside.error().what), false;
  written_ids_ = 0;
  if (!attach()) return false;
  status_.state = "ok";
  status_.why = "the database was corrupt and is now " + *aside + "; a new one was begun";
  return true;
}

// Runs a step on the database; one that finds it corrupt is run again on a new one.
template <class Step>
bool Engine::attempt(Step step) {
  tables_.connection().forgive();
  if (step()) return true;
  const auto failed = tables_.connection().failed();
  if (!attached_ || !failed || (failed->code != SQLITE_CORRUPT && failed->code != SQLITE_NOTADB))
    return false;
  if (!replace_corrupt_file()) return false;
  tables_.connection().forgive();
  return step();
}

void Engine::keep(const core::FailureRow& row, Settled settled) {
  tables_.connection().forgive();
  const bool kept = tables_.keep(row);
  take(Ticket{next_ticket_++, row.id, 0, std::move(settled)}, kept);
}

void Engine::keep(const core::EndRow& row, Settled settled) {
  tables_.connection().forgive();
  const bool kept = tables_.keep(row);
  take(Ticket{next_ticket_++, {}, row.worker, std::move(settled)}, kept);
}

void Engine::take(Ticket ticket, bool kept) {
  if (!kept) {  // not even memory could be had
    ++status_.dropped;
    settle_(std::move(ticket.settled), false);
    return;
  }
  latest_[ticket.key()] = ticket.number;
  tickets_.push_back(std::move(ticket));
  ++rows_since_prune_;
  if (tickets_.size() > Store::max_waiting) drop_oldest();
  count_waiting();
}

// The row itself goes only if it was not sent again meanwhile.
void Engine::drop_oldest() {
  Ticket oldest = std::move(tickets_.front());
  tickets_.pop_front();
  const auto last = latest_.find(oldest.key());
  if (last != latest_.end() && last->second == oldest.number) {
    latest_.erase(last);
    if (oldest.failure.empty())
      tables_.forget_end(oldest.end);
    else
      tables_.forget_failure(oldest.failure);
    ++status_.dropped;
  }
  settle_(std::move(oldest.settled), false);
}

void Engine::settle_all() {
  for (Ticket& ticket : tickets_) settle_(std::move(ticket.settled), true);
  tickets_.clear();
  latest_.clear();
  count_waiting();
}

void Engine::settle_cleared() {
  std::deque<Ticket> left;
  for (Ticket& ticket : tickets_) {
    if (ticket.failure.empty() || tables_.holds_failure(ticket.failure)) {
      left.push_back(std::move(ticket));
      continue;
    }
    latest_.erase(ticket.key());
    settle_(std::move(ticket.settled), true);
  }
  tickets_ = std::move(left);
  count_waiting();
}

void Engine::reserve_worker_ids(std::uint64_t up_to) { reserved_ids_ = std::max(reserved_ids_, up_to); }

bool Engine::write(Clock::time_point now) {
  const bool needed = waits() || degraded();
  return !needed || try_write(now);
}

bool Engine::try_write(Clock::time_point now) {
  const bool moved = attached_ && tables_.connection().attached_file_was_moved();
  if ((!attached_ || reattach_ || moved) && !attach()) return false;
  if (moved) status_.why = status_.path + " had been moved away; a new one was begun";
  if (!attempt([&] { return tables_.write_out(reserved_ids_); })) {
    // A full disk or a held lock may pass by itself; after anything else the file is looked at afresh.
    const auto failed = tables_.connection().failed();
    reattach_ = failed && failed->code != SQLITE_FULL && failed->code != SQLITE_BUSY;
    if (attached_) trouble(words("write"));
    return false;
  }
  written_ids_ = reserved_ids_;
  settle_all();
  if (degraded()) status_.state = "ok", status_.why.clear();
  prune(now);
  return true;
}

// Nothing waits for it, so one that fails is simply done the next time.
void Engine::prune(Clock::time_point now) {
  const std::uint64_t every = std::clamp<std::uint64_t>(config_.max_failures / 16, 1, max_prune_every);
  if (pruned_ && rows_since_prune_ < every && now - *pruned_ < prune_at_least) return;
  if (attempt([&] { return tables_.prune(config_, unix_ms()); })) {
    rows_since_prune_ = 0;
    pruned_ = now;
  }
}

base::Result<std::vector<std::string>> Engine::list(const core::FailureFilter& filter) {
  std::vector<std::string> records;
  if (attempt([&] { return records.clear(), tables_.list(filter, records); })) return records;
  return base::Error{to_errno(tables_.connection().failed()->code), words("read")};
}

base::Result<std::vector<std::string>> Engine::top(const core::FailureFilter& filter) {
  std::vector<std::string> groups;
  if (attempt([&] { return groups.clear(), tables_.top(filter, groups); })) return groups;
  return base::Error{to_errno(tables_.connection().failed()->code), words("read")};
}

base::Result<std::string> Engine::show(const std::string& id_prefix) {
  if (id_prefix.empty())
    return base::Error{EINVAL, "an empty id names no failure; expected an id or its beginning"};
  std::vector<std::string> ids;
  std::string json;
  if (!attempt([&] {
        ids.clear();
        return tables_.matching(id_prefix, ids) && (ids.size() != 1 || tables_.record(ids.front(), json));
      }))
    return base::Error{to_errno(tables_.connection().failed()->code), words("read")};
  if (ids.empty()) return base::Error{ENOENT, "no failure has an id that is or begins with " + id_prefix};
  if (ids.size() == 1) return json;
  std::string candidates;
  for (std::size_t i = 0; i < ids.size() && i < Tables::max_candidates; ++i)
    candidates += (i ? ", " : "") + ids[i];
  if (ids.size() > Tables::max_candidates) candidates += " and others";
  return base::Error{EINVAL, id_prefix + " is the beginning of more than one id: " + candidates};
}

base::Result<std::uint64_t> Engine::clear(const std::string& service) {
  std::uint64_t removed = 0;
  const bool cleared = attempt([&] { return tables_.clear(service, removed); });
  const auto failed = tables_.connection().failed();
  const std::string why = cleared ? "" : words("write");
  if (!cleared) {
    tables_.connection().forgive();
    tables_.clear_waiting(service, removed);
  }
  settle_cleared();
  if (cleared) return removed;
  return base::Error{
      to_errno(failed ? failed->code : SQLITE_IOERR),
      why + "; of the failures only " + std::to_string(removed) + " that waited in memory were removed"};
}

void Engine::trouble(std::string why) {
  status_.state = "degraded";
  status_.why = std::move(why);
}

std::string Engine::words(const std::string& doing) {
  const auto failed = tables_.connection().failed();
  return doing + " " + status_.path + ": " + (failed ? failed->words : "it cannot be used");
}

}  // namespace refork::store
