// Events become a causal line: whose place a worker took, which failure that came of, what waited for what
// and how long. All of it is found in the events themselves; nobody has to say it a second time.
#include "core/history.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "base/utf8.h"

namespace refork::core {

namespace {

// How others say it.
constexpr std::string_view drains_because = "drains: ", asked_by = " by ",
                           reforkd_started = "reforkd-started";

std::string clean(std::string_view text) {
  return base::utf8_clean(text, base::Controls::drop, longest_entry);
}

HistoryEntry entry_of(const Event& event) {
  HistoryEntry entry;
  entry.time_ms = event.time_ms;
  entry.slot = event.slot;
  entry.worker = event.worker;
  entry.pid = event.pid;
  entry.what = event.type.name();
  entry.text = clean(event.text);
  entry.detail = clean(event.detail);
  return entry;
}

bool comes_before(const HistoryEntry& one, const HistoryEntry& other) {
  return std::pair(one.time_ms, one.number) < std::pair(other.time_ms, other.number);
}

bool is(const HistoryEntry& entry, std::string_view what, WorkerId worker) {
  return entry.what == what && entry.worker == worker;
}

// An entry among those of other lists: by time, then by number, but for a failure, which in its own list may
// stand before what has a lower one.
struct Placed {
  std::uint64_t rank;
  const HistoryEntry* entry;
};

template <class Entries>
void place(std::vector<Placed>& all, const Entries& entries) {
  const auto first = static_cast<std::ptrdiff_t>(all.size());
  const HistoryEntry* after = nullptr;
  std::uint64_t rank = 0;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    const bool together = after != nullptr && after->time_ms == entry->time_ms;
    rank = together ? std::min(rank, entry->number) : entry->number;
    all.push_back({rank, after = &*entry});
  }
  std::reverse(all.begin() + first, all.end());
}

bool placed_before(const Placed& one, const Placed& other) {
  return std::pair(one.entry->time_ms, one.rank) < std::pair(other.entry->time_ms, other.rank);
}

// The newest entry that satisfies it.
template <class Entries, class Predicate>
auto* newest(Entries& entries, Predicate&& predicate) {
  const auto found = std::find_if(entries.rbegin(), entries.rend(), predicate);
  return found == entries.rend() ? nullptr : &*found;
}

void note_wait(HistoryEntry& entry, const HistoryEntry* since, std::string_view what_for) {
  if (!since || since->time_ms > entry.time_ms) return;
  entry.waited_ms = entry.time_ms - since->time_ms;
  entry.waited_for = what_for;
}

// What a failure led to in the same moment, and was told before it: all but that its worker was started.
bool came_of(const HistoryEntry& entry, const HistoryEntry& failure) {
  return entry.time_ms == failure.time_ms && entry.what != "failure" &&
         !(entry.what == "worker-started" && entry.worker <= failure.worker);
}

// By worker, each by time.
using Failures = std::map<WorkerId, std::vector<const HistoryEntry*>>;

Failures failures_in(const std::vector<HistoryEntry>& all) {
  Failures failures;
  for (const auto& entry : all)
    if (entry.what == "failure") failures[entry.worker].push_back(&entry);
  return failures;
}

// A failure that its worker's end, its drain or its replacement came of: the latest before it.
const HistoryEntry* cause_of(const HistoryEntry& entry, const Failures& failures) {
  const WorkerId culprit = entry.what == "worker-started" ? entry.instead_of : entry.worker;
  const auto found = failures.find(culprit);
  if (culprit == 0 || found == failures.end()) return nullptr;
  const auto later = std::ranges::upper_bound(found->second, entry.time_ms, {}, &HistoryEntry::time_ms);
  return later == found->second.begin() ? nullptr : *std::prev(later);
}

// A worker that was told to go for another reason than an error.
bool asked_for(const HistoryEntry& entry) {
  return entry.what == "worker-draining" && entry.text.starts_with(drains_because) &&
         !entry.text.ends_with("error");
}

// Whether that is what an operator's order leads to. Nobody orders a recycle.
bool is_order_for(const HistoryEntry& order, const HistoryEntry& drain) {
  struct Leads {
    std::string_view verb, reason;
  };
  static constexpr Leads known[] = {{"drain", "operator"},
                                    {"scale", "operator"},
                                    {"reload", "reload"},
                                    {"stop", "stop"},
                                    {"restart", "stop"}};
  return std::ranges::any_of(known, [&](const Leads& leads) {
    return order.text.starts_with(leads.verb) && drain.text.ends_with(leads.reason);
  });
}

void link(std::vector<HistoryEntry>& all) {
  const Failures failures = failures_in(all);
  for (auto& entry : all) {
    if (!entry.failure.empty()) continue;
    if (entry.what != "worker-started" && entry.what != "worker-draining" && entry.what != "worker-ended")
      continue;
    const auto* cause = cause_of(entry, failures);
    if (!cause || asked_for(entry)) continue;
    entry.failure = cause->failure;
  }
}

}  // namespace

void History::add(const Event& event) {
  if (event.type == "failure") return;  // failed() has it
  if (event.type == "worker-ready") return became_ready(event);
  if (event.type == "worker-adopted") return;  // the restart stands for all of them
  if (event.type.name() == reforkd_started) return restarted(event);
  HistoryEntry entry = entry_of(event);
  if (event.type == "operator")
    if (const auto by = entry.text.rfind(asked_by); by != std::string::npos)
      entry.by = entry.text.substr(by + asked_by.size());
  if (event.slot && event.type == "worker-started") trace_start(entry);
  if (event.slot && event.type == "worker-draining") trace_drain(entry);
  keep(std::move(entry));
}

void History::trace_start(HistoryEntry& entry) {
  entry.instead_of = std::exchange(newest_[*entry.slot], entry.worker);
  // The end and the failure of the one before may become known while this one waits.
  const auto* last = newest(slots_[*entry.slot], [](const auto& other) {
    return other.what == "worker-backoff" || other.what == "worker-started";
  });
  if (last && last->what == "worker-backoff") note_wait(entry, last, "its backoff");
}

void History::trace_drain(HistoryEntry& entry) {
  const auto& slot = slots_[*entry.slot];
  const auto tainted = std::ranges::find_if(
      slot, [&](const auto& other) { return is(other, "worker-tainted", entry.worker); });
  if (tainted != slot.end()) note_wait(entry, &*tainted, tainted->text);
  if (!asked_for(entry)) return;
  // Of all orders only one that this worker was there for, and that is for this.
  const auto* started =
      newest(slot, [&](const auto& other) { return is(other, "worker-started", entry.worker); });
  const auto order = [&](const auto& other) {
    return other.what == "operator" && (other.worker == 0 || other.worker == entry.worker) &&
           (!started || started->time_ms <= other.time_ms) && is_order_for(other, entry);
  };
  const auto *of_slot = newest(slot, order), *of_service = newest(service_, order);
  if (of_slot && (!of_service || of_slot->time_ms > of_service->time_ms)) of_service = of_slot;
  if (of_service) entry.by = of_service->by;
}

void History::became_ready(const Event& event) {
  if (!event.slot) return;
  auto* const started =
      newest(of(event.slot), [&](const auto& entry) { return is(entry, "worker-started", event.worker); });
  if (!started || event.time_ms < started->time_ms) return;
  started->duration_ms = event.time_ms - started->time_ms;
  changed(*started);
}

// One that starts again and again drives out nothing but the memory of the same.
void History::restarted(const Event& event) {
  HistoryEntry entry = entry_of(event);
  auto* const last = service_.empty() ? nullptr : &service_.back();
  if (!last || last->what != entry.what) return keep(std::move(entry));
  entry.number = last->number;
  entry.count = last->count + 1;
  *last = std::move(entry);
  changed(*last);
}

void History::failed(const FailureRow& row, std::string_view summary) {
  HistoryEntry entry;
  entry.slot = row.slot;
  entry.worker = row.worker;
  entry.what = "failure";
  entry.text = row.kind;
  entry.detail = clean(summary);
  entry.failure = row.id;
  entry.count = row.count;
  entry.time_ms = row.time_ms;
  auto& slot = slots_[row.slot];
  // No worker fails before it was started, whatever its record says.
  if (const auto* started =
          newest(slot, [&](const auto& other) { return is(other, "worker-started", row.worker); })) {
    entry.time_ms = std::max(entry.time_ms, started->time_ms);
    entry.pid = started->pid;
  }
  auto* const last =
      newest(slot, [&](const auto& other) { return other.worker == row.worker && other.what == "failure"; });
  if (last && last->text == entry.text && last->detail == entry.detail) {
    last->count += row.count;
    return changed(*last);
  }
  keep(std::move(entry));
}

void History::finished(WorkerId worker, std::optional<std::uint64_t> completed,
                       std::optional<std::uint64_t> cut) {
  for (auto& [slot, entries] : slots_)
    if (auto* const ended =
            newest(entries, [&](const auto& entry) { return is(entry, "worker-ended", worker); })) {
      ended->completed = completed;
      ended->cut = cut;
      return changed(*ended);
    }
}

void History::changed(const HistoryEntry& entry) const {
  if (changed_) changed_(entry);
}

void History::keep(HistoryEntry entry) {
  entry.number = ++last_number_;
  changed(entry);
  insert(std::move(entry));
}

void History::restore(HistoryEntry entry) {
  last_number_ = std::max(last_number_, entry.number);
  auto& entries = of(entry.slot);
  std::erase_if(entries, [&](const auto& other) { return other.number == entry.number; });
  if (entry.slot && entry.what == "worker-started")
    newest_[*entry.slot] = std::max(newest_[*entry.slot], entry.worker);
  insert(std::move(entry));
}

// By time: a failure is told after what came of it.
void History::insert(HistoryEntry entry) {
  auto& entries = of(entry.slot);
  const std::size_t most = entry.slot ? kept_a_slot : kept_of_a_service;
  auto later = std::ranges::upper_bound(entries, entry, comes_before);
  if (entry.what == "failure")
    while (later != entries.begin() && came_of(*std::prev(later), entry)) --later;
  entries.insert(later, std::move(entry));
  if (entries.size() > most) entries.pop_front();
}

std::vector<HistoryEntry> History::entries(std::optional<std::uint32_t> slot) const {
  std::vector<Placed> placed;
  place(placed, service_);
  for (const auto& [number, entries] : slots_)
    if (!slot || *slot == number) place(placed, entries);
  std::ranges::stable_sort(placed, placed_before);
  std::vector<HistoryEntry> all;
  all.reserve(placed.size());
  for (const auto& one : placed) all.push_back(*one.entry);
  link(all);
  return all;
}

}  // namespace refork::core
