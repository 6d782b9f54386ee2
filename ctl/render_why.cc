// What happened to a service or one of its slots, line by line, each with what it came of; and what keeps it
// from being as it is wanted.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ctl/render.h"

namespace refork::ctl {

namespace {

std::string clock_time(std::uint64_t unix_ms, bool with_ms) {
  std::string text = humane_time(unix_ms).substr(11);
  if (!with_ms) return text;
  const std::string ms = std::to_string(unix_ms % 1000);
  return text + "." + std::string(3 - ms.size(), '0') + ms;
}

std::string exact_duration(std::uint64_t ms) {
  return ms < 10'000 ? std::to_string(ms) + " ms" : humane_duration(ms);
}

const HistoryEntry* find(const Why& why, std::uint64_t worker, std::string_view what) {
  const auto found = std::ranges::find_if(
      why.history, [&](const auto& entry) { return entry.worker == worker && entry.what == what; });
  return found == why.history.end() ? nullptr : &*found;
}

std::string after_colon(const std::string& text) { return text.empty() ? "" : ": " + text; }

std::string of_failure(const HistoryEntry& entry) {
  return entry.failure.empty() ? "" : " (failure " + escape(entry.failure) + ")";
}

std::string failed(const HistoryEntry& entry) {
  std::string text = " failed: " + escape(entry.text);
  if (!entry.detail.empty()) text += " " + escape(entry.detail);
  text += of_failure(entry);
  return entry.count > 1 ? text + ", " + std::to_string(entry.count) + " times" : text;
}

std::string started(const HistoryEntry& entry, std::uint64_t worker_before) {
  std::string text = " started";
  if (entry.instead_of != 0)
    text += entry.instead_of == worker_before ? " in its place"
                                              : " in place of worker " + std::to_string(entry.instead_of);
  if (!entry.waited_for.empty())
    text += " after " + exact_duration(entry.waited_ms) + " of " +
            (entry.waited_for == "its backoff" ? "backoff" : escape(entry.waited_for));
  if (entry.duration_ms >= 0)
    text += ", ready after " + exact_duration(static_cast<std::uint64_t>(entry.duration_ms));
  return text;
}

std::string ended(const HistoryEntry& entry) {
  std::string text =
      entry.text.starts_with("drained") ? " " + escape(entry.text) : " ended: " + escape(entry.text);
  if (entry.completed >= 0)
    text += ", " + count_of(static_cast<std::uint64_t>(entry.completed), "request") + " finished";
  if (entry.cut > 0 || entry.completed >= 0) text += ", " + std::to_string(entry.cut) + " cut";
  return text;
}

std::string draining(const HistoryEntry& entry) {
  std::string text = " " + escape(entry.text);
  if (!entry.by.empty()) text += ", asked for by " + escape(entry.by);
  if (!entry.waited_for.empty())
    text += ", after " + exact_duration(entry.waited_ms) + " (" + escape(entry.waited_for) + ")";
  return text;
}

std::string what_happened(const HistoryEntry& entry, std::uint64_t worker_before) {
  const std::string who = entry.worker != 0 ? "worker " + std::to_string(entry.worker) : std::string();
  if (entry.what == "failure") return who + failed(entry);
  if (entry.what == "worker-started") return who + started(entry, worker_before);
  if (entry.what == "worker-ended") return who + ended(entry);
  if (entry.what == "worker-draining") return who + draining(entry);
  if (entry.what == "operator" || entry.what == "service-state")
    return escape(entry.what == "operator" ? entry.text : "the service is " + entry.text);
  if (entry.what == "reforkd-started")
    return escape(entry.text) + (entry.count > 1 ? ", " + std::to_string(entry.count) + " times" : "");
  return (who.empty() ? escape(entry.what) : who) + after_colon(escape(entry.text));
}

// What the worker's failure says already: a drain that came of it and is over, an end that it is.
bool is_told(const HistoryEntry& entry, const Why& why) {
  if (entry.failure.empty()) return false;
  const auto* failure = find(why, entry.worker, "failure");
  if (!failure) return false;
  if (entry.what == "worker-draining")
    return entry.waited_for.empty() && find(why, entry.worker, "worker-ended");
  return entry.what == "worker-ended" && entry.cut <= 0 && failure->detail.ends_with(entry.text);
}

// Of starts of a slot that failed alike, one after the other, the last, with the number of all; those that
// say more than that stay.
std::vector<HistoryEntry> without_repeated_starts(std::vector<HistoryEntry> history) {
  std::map<std::int32_t, HistoryEntry*> last;  // of each slot
  std::set<std::uint64_t> repeated, telling;   // workers
  for (auto entry = history.rbegin(); entry != history.rend(); ++entry) {
    if (entry->what == "worker-started" && entry->duration_ms >= 0) last.erase(entry->slot);
    if (entry->what != "failure") continue;
    if (entry->text != "boot") {
      telling.insert(entry->worker);
      continue;
    }
    HistoryEntry*& later = last[entry->slot];
    if (later && later->detail == entry->detail) {
      later->count += entry->count;
      repeated.insert(entry->worker);
    } else {
      later = &*entry;
    }
  }
  std::erase_if(history, [&](const auto& entry) {
    return repeated.contains(entry.worker) && !telling.contains(entry.worker);
  });
  return history;
}

// Who wanted it so, if a service does not run.
std::string stopped_by(const Why& why) {
  const auto order = std::find_if(why.history.rbegin(), why.history.rend(), [](const auto& entry) {
    return entry.what == "operator" && entry.slot < 0;
  });
  return order == why.history.rend()
             ? ""
             : " (" + clock_time(order->time_ms, true) + " " + escape(order->text) + ")";
}

std::string slot_headline(const Why& why, const Worker& worker, const View& view) {
  std::string text =
      escape(why.service.name) + "/" + std::to_string(worker.slot) + ": " + escape(worker.state);
  if (worker.id == 0)
    return worker.next_start_ms ? text + " until " + clock_time(worker.next_start_ms, false) : text;
  text += ", worker " + std::to_string(worker.id) + " (pid " + std::to_string(worker.pid) + ")";
  const auto* started = find(why, worker.id, "worker-started");
  const std::uint64_t since = started && started->duration_ms >= 0
                                  ? started->time_ms + static_cast<std::uint64_t>(started->duration_ms)
                                  : worker.started_ms;
  if (worker.state == "serving" && since != 0) text += " since " + clock_time(since, false);
  if (worker.tainted) text += ", tainted";
  return fit(text, view.width);
}

std::string headlines(const Why& why, const View& view) {
  std::string out;
  if (why.slot < 0 || why.service.workers.empty()) {
    const auto serving = std::ranges::count(why.service.workers, "serving", &Worker::state);
    out += fit(escape(why.service.name) + ": " + escape(why.service.state) + ", " + std::to_string(serving) +
                   "/" + std::to_string(why.service.wanted) + " serving",
               view.width) +
           "\n";
  }
  for (const auto& worker : why.service.workers)
    if (static_cast<std::int64_t>(worker.slot) == why.slot) out += slot_headline(why, worker, view) + "\n";
  return out;
}

std::string condition_line(const Condition& condition, const Why& why, const View& view) {
  std::string who;
  if (condition.slot >= 0 && why.slot < 0)
    who = escape(why.service.name) + "/" + std::to_string(condition.slot) + " ";
  if (condition.worker != 0) who += "worker " + std::to_string(condition.worker) + " ";
  std::string text = who + escape(condition.text);
  if (condition.kind == "stopped" || condition.kind == "stopping") text += stopped_by(why);
  if (condition.until_ms != 0)
    text += ", until " + clock_time(condition.until_ms, true) + " (in " +
            exact_duration(condition.until_ms > view.now_ms ? condition.until_ms - view.now_ms : 0) + ")";
  return text;
}

}  // namespace

std::string render_why(const Why& why, const View& view) {
  std::string out = headlines(why, view);
  const std::size_t room = view.width > 2 ? view.width - 2 : view.width;
  for (const auto& condition : why.conditions)
    out += "  " + paint(fit(condition_line(condition, why, view), room), Color::yellow, view) + "\n";
  std::uint64_t worker_before = 0;
  for (const auto& entry : without_repeated_starts(why.history)) {
    if (is_told(entry, why)) continue;
    std::string where;
    if (why.slot < 0 && entry.slot >= 0) where = "/" + std::to_string(entry.slot) + "  ";
    const std::string line = clock_time(entry.time_ms, true) + "  " + where;
    const std::string whole = fit(line + what_happened(entry, worker_before), room);
    out += "  " + (entry.what == "failure" && view.color ? paint(whole, Color::red, view) : whole) + "\n";
    worker_before = entry.worker;
  }
  if (why.history.empty()) out += "  Nothing has happened to it yet.\n";
  return out;
}

}  // namespace refork::ctl
