// Reads one service's entries off the journal. Workers' lines carry no slot: whose they are is known by the
// process ids in reforkd's events.
#include "ctl/journal.h"

#include <systemd/sd-id128.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <utility>
#include <vector>

namespace refork::ctl {

namespace {

constexpr std::size_t looked_through = 10'000;  // events, for the processes of a slot

int match(sd_journal* journal, const std::string& text) {
  return sd_journal_add_match(journal, text.data(), text.size());
}

// reforkd's own words about a service.
int match_events(sd_journal* journal, const std::string& service) {
  const int r = match(journal, "SYSLOG_IDENTIFIER=reforkd");
  return r < 0 ? r : match(journal, "REFORK_SERVICE=" + service);
}

int match_all(sd_journal* journal, const std::string& service) {
  int r = match_events(journal, service);
  if (r >= 0) r = sd_journal_add_disjunction(journal);
  if (r >= 0) r = match(journal, "_TRANSPORT=stdout");
  if (r >= 0) r = match(journal, "SYSLOG_IDENTIFIER=" + service);
  return r;
}

// As _BOOT_ID has it.
std::string this_boot() {
  sd_id128_t id;
  std::array<char, SD_ID128_STRING_MAX> text;
  return sd_id128_get_boot(&id) < 0 ? "" : sd_id128_to_string(id, text.data());
}

}  // namespace

base::Result<Journal> Journal::open(const std::string& service, std::int32_t slot,
                                    const std::set<std::int32_t>& pids) {
  sd_journal* opened = nullptr;
  int r = sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY);
  if (r < 0) return base::errno_error("read the journal", -r);
  Journal journal(Handle(opened), slot);
  const std::string boot = this_boot();
  for (const auto pid : pids) journal.pids_.emplace(boot, pid);
  if (slot >= 0) journal.learn_pids(service);
  sd_journal_flush_matches(opened);
  if ((r = match_all(opened, service)) < 0) return base::errno_error("read the journal", -r);
  return journal;
}

void Journal::learn_pids(const std::string& service) {
  if (match_events(journal_.get(), service) < 0 ||
      match(journal_.get(), "REFORK_SLOT=" + std::to_string(slot_)) < 0)
    return;
  sd_journal_seek_tail(journal_.get());
  for (std::size_t i = 0; i < looked_through && sd_journal_previous(journal_.get()) > 0; ++i)
    pids_.emplace(field("_BOOT_ID"), static_cast<std::int32_t>(number("REFORK_WORKER_PID", 0)));
}

std::string Journal::field(const char* name) const {
  const void* data = nullptr;
  std::size_t size = 0;
  const std::size_t prefix = std::string_view(name).size() + 1;
  if (sd_journal_get_data(journal_.get(), name, &data, &size) < 0 || size < prefix) return "";
  return std::string(static_cast<const char*>(data), size).substr(prefix);
}

std::int64_t Journal::number(const char* name, std::int64_t otherwise) const {
  const std::string text = field(name);
  std::int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  return problem == std::errc() && end == text.data() + text.size() ? value : otherwise;
}

LogLine Journal::line() const {
  LogLine line;
  std::uint64_t time_us = 0;
  if (sd_journal_get_realtime_usec(journal_.get(), &time_us) >= 0) line.time_ms = time_us / 1000;
  line.source = field("SYSLOG_IDENTIFIER");
  line.event = field("REFORK_EVENT");
  line.text = field("MESSAGE");
  line.slot = static_cast<std::int32_t>(number("REFORK_SLOT", -1));
  line.worker = static_cast<std::uint64_t>(number("REFORK_WORKER", 0));
  line.pid = static_cast<std::int32_t>(number(line.event.empty() ? "_PID" : "REFORK_WORKER_PID", 0));
  return line;
}

bool Journal::wanted(const LogLine& line) {
  if (slot_ < 0) return true;
  ProcessId process(field("_BOOT_ID"), line.pid);
  if (line.event.empty()) return pids_.contains(process);
  if (line.slot != slot_) return false;
  pids_.insert(std::move(process));
  return true;
}

// Back to the entry before those, then forth again: whoever follows goes on where they end.
base::Result<std::uint64_t> Journal::show_last(std::uint64_t count, std::uint64_t since_ms,
                                               const Show& show) {
  sd_journal_seek_tail(journal_.get());
  std::uint64_t found = 0;
  bool before = false;
  int r = 0;
  while (!before && (r = sd_journal_previous(journal_.get())) > 0) {
    const LogLine one = line();
    before = found == count || one.time_ms < since_ms;
    if (!before && wanted(one)) ++found;
  }
  if (r < 0) return base::errno_error("read the journal", -r);
  if (!before) sd_journal_seek_head(journal_.get());
  return show_on(found, show);
}

base::Result<std::uint64_t> Journal::show_on(std::uint64_t most, const Show& show) {
  std::uint64_t shown = 0;
  int r = 0;
  while (shown < most && (r = sd_journal_next(journal_.get())) > 0)
    if (const LogLine one = line(); wanted(one)) {
      show(one);
      ++shown;
    }
  if (r < 0) return base::errno_error("read the journal", -r);
  return shown;
}

base::Result<void> Journal::follow(const Show& show) {
  for (;;) {
    if (const auto shown = show_on(UINT64_MAX, show); !shown) return shown.error();
    const int r = sd_journal_wait(journal_.get(), static_cast<std::uint64_t>(-1));
    if (r < 0 && r != -EINTR) return base::errno_error("read the journal", -r);
  }
}

}  // namespace refork::ctl
