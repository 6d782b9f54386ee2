// From flight recorder to store. The order matters: copy, store, and only then free, so that the death of
// either side at any moment loses nothing; the store makes a record that arrives twice one. A worker's end is
// in failures_ends.cc.
#include "supervisor/failures.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>

#include "base/fingerprint.h"
#include "base/utf8.h"
#include "log/log.h"
#include "supervisor/crash_record.h"
#include "supervisor/record_ids.h"
#include "supervisor/thread_stacks.h"

namespace refork::supervisor {

namespace {

// Of a failure that has no stack: by its kind, service and sentence.
std::string plain_fingerprint(Kind kind, const std::string& service, const std::string& message) {
  base::Fingerprint fingerprint;
  for (const auto part : {base::to_name(kind), std::string_view(service), std::string_view(message)})
    fingerprint.add(part);
  return base::to_hex(fingerprint.value());
}

constexpr std::size_t max_summary = 200;  // bytes

std::string summary_of(const proto::FailureRecord& record, const proto::Redactor& redactor) {
  std::string text = record.type;
  if (!record.message.empty()) text += (text.empty() ? "" : ": ") + redactor.text(record.message);
  return base::utf8_clean(text, base::Controls::drop, max_summary);
}

// Whose it is, by reforkd's own knowledge; and when, by the worker's clock or its fancy.
void identify(proto::FailureRecord& record, const Subject& subject) {
  record.service = subject.service;
  record.slot = subject.slot;
  record.worker = subject.worker;
  record.pid = subject.pid;
  record.unnamed = false;
  record.time_ms = std::min(record.time_ms, unix_ms());
}

// What a process may have said of in its last lines.
bool is_fatal(Kind kind) {
  switch (kind) {
    case Kind::signal:
    case Kind::terminate:
    case Kind::hang:
    case Kind::deadline:
    case Kind::oom:
    case Kind::exit:
    case Kind::boot:
      return true;
    default:
      return false;
  }
}

// Not a later revision of one that was told before.
bool is_fresh(const proto::FailureRecord& record) { return record.revision == 1; }

}  // namespace

std::uint64_t unix_ms() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

void Failures::redact(const std::string& service, const std::vector<std::string>& names) {
  redactors_.insert_or_assign(service, proto::Redactor(names));
}

const proto::Redactor& Failures::redactor(const std::string& service, bool shows_query) const {
  if (const auto own = redactors_.find(service); own != redactors_.end()) return own->second;
  return shows_query ? showing_query_ : usual_;
}

void Failures::add(const proto::FailureRecord& record, std::function<void()> stored) {
  if (outputs_ && is_fatal(record.kind)) fatal_.insert_or_assign(record.worker, record);
  core::FailureRow row;
  row.id = record.id;
  row.revision = record.revision;
  row.time_ms = record.time_ms;
  row.service = record.service;
  row.slot = record.slot;
  row.worker = record.worker;
  row.pid = record.pid;
  row.kind = base::to_name(record.kind);
  row.fingerprint = record.fingerprint;
  row.count = record.count;
  row.record = proto::encode(record, proto::max_record_text);
  if (is_fresh(record)) {
    auto summary = summary_of(record, redactor(record.service, false));
    if (held_)
      untold_.emplace_back(row, std::move(summary));
    else
      tell(row, summary);
  }
  store_.add(std::move(row), std::move(stored));
}

void Failures::tell(const core::FailureRow& row, const std::string& summary) {
  if (!tally_.tell(row.worker, row.id)) return;
  announce_(row, summary);
  if (changed_) changed_(row.service);
}

void Failures::release() {
  held_ = false;
  for (const auto& [row, summary] : std::exchange(untold_, {})) tell(row, summary);
}

// About one stack of a record.
void Failures::ask(const Subject& subject, const proto::FailureRecord& about,
                   const std::vector<proto::Frame>& stack, Symbols::Reply reply) {
  proto::FailureRecord question;
  question.id = about.id;
  question.stack = stack;
  question.build_ids = about.build_ids;
  symbols_.ask(subject, question, std::move(reply));
}

// The record stays where it is until all its stacks have their names: should reforkd die meanwhile, the next
// one finds it there.
void Failures::name_and_add(const Subject& subject, Waiting one) {
  const auto number = ++last_waiting_;
  const proto::FailureRecord record = one.record;
  constexpr std::size_t own = std::numeric_limits<std::size_t>::max();  // not that of a thread
  std::vector<std::size_t> unnamed;
  if (!record.stack.empty()) unnamed.push_back(own);
  for (std::size_t i = 0; i < record.threads.size(); ++i)
    if (!record.threads[i].stack.empty()) unnamed.push_back(i);
  one.unnamed = unnamed.size();
  if (unnamed.empty()) return add(one.record, std::move(one.stored));
  waiting_.emplace(number, std::move(one));
  for (const auto which : unnamed) {
    ask(subject, record, which == own ? record.stack : record.threads[which].stack,
        [this, number, which](std::optional<proto::SymbolAnswer> answer) {
          const auto found = waiting_.find(number);
          if (found == waiting_.end()) return;
          Waiting& waiting = found->second;
          waiting.record.unnamed |= !answer;
          if (answer && which == own) name_frames(waiting.record, *answer);
          if (answer && which != own) name_stack(waiting.record.threads[which].stack, *answer);
          if (--waiting.unnamed != 0) return;
          auto node = waiting_.extract(found);
          add(node.mapped().record, std::move(node.mapped().stored));
          add_end_of(node.mapped().record.worker);
        });
  }
}

void Failures::store_waiting() {
  for (auto& [number, one] : std::exchange(waiting_, {})) {
    one.record.unnamed = true;
    add(one.record, std::move(one.stored));
  }
  for (auto& [worker, end] : std::exchange(ends_, {})) store_end(std::move(end));
}

Collected Failures::collect(const Subject& subject, const std::shared_ptr<KeptRecorder>& recorder,
                            bool dead) {
  Collected collected;
  std::set<std::string> met;
  const auto& hides = redactor(subject.service, recorder->reader().shows_query());
  for (auto& found : recorder->take()) {
    auto record = proto::decode_record(found.json);
    if (record && is_own_id(record->id)) record = base::Error{EPERM, "its id is for reforkd to give"};
    const auto stored = [this, recorder, worker = subject.worker, id = record ? record->id : "",
                         found = recorder::StoredRecord{found.slot, found.sequence, {}}] {
      recorder->stored(found);
      tally_.forget(worker, id);
    };
    if (!record) {
      log::warning(subject.service + " worker " + std::to_string(subject.worker) +
                   ": a record in its flight recorder is not one: " + record.error().what);
      stored();
      continue;
    }
    identify(*record, subject);
    hides.apply(*record);
    met.insert(record->id);
    if (is_fresh(*record) && tally_.count(subject.service, subject.worker, record->id)) ++collected.fresh;
    collected.terminated |= record->kind == Kind::terminate;
    name_and_add(subject, {*std::move(record), stored});
  }
  collect_crashes(subject, recorder->reader(), dead, collected, met);
  if (assumed_.erase(subject.worker) != 0) forget_settled(subject.worker, std::move(met));
  return collected;
}

// What was stored just before an earlier reforkd died is not met again.
void Failures::forget_settled(core::WorkerId worker, std::set<std::string> met) {
  if (const auto known = unsafe_.find(worker); known != unsafe_.end())
    for (const auto& [id, json] : known->second) met.insert(id);
  tally_.forget_all_but(worker, met);
}

// They stay in their slots: there is nobody to whom these would have to be given back.
void Failures::collect_crashes(const Subject& subject, const recorder::Reader& reader, bool dead,
                               Collected& collected, std::set<std::string>& met) {
  for (const auto& crash : reader.crashes()) {
    if (!crash.complete && !dead) continue;
    collected.crashed = true;
    if (!crashes_.emplace(subject.worker, crash.slot).second) continue;
    auto record = crash_record(subject, crash, executable_of(subject.pid));
    identify(record, subject);
    redactor(subject.service, reader.shows_query()).apply(record);
    met.insert(record.id);
    if (tally_.count(subject.service, subject.worker, record.id)) ++collected.fresh;
    name_and_add(subject, {std::move(record), [] {}});
  }
}

void Failures::report(const Subject& subject, Kind kind, const std::string& message,
                      std::optional<std::uint64_t> in_flight) {
  proto::FailureRecord record;
  record.kind = kind;
  record.message = message;
  record.fingerprint = plain_fingerprint(kind, subject.service, message);
  record.in_flight_at_failure = in_flight;
  report(subject, std::move(record), false);
}

void Failures::report(const Subject& subject, proto::FailureRecord record, bool shows_query) {
  record.time_ms = unix_ms();
  record.id =
      report_id(subject, record.kind, ++reports_[subject.worker][std::string(base::to_name(record.kind))]);
  record.thrown = false;
  if (record.fingerprint.empty()) record.fingerprint = plain_fingerprint(record.kind, subject.service, "");
  identify(record, subject);
  redactor(subject.service, shows_query).apply(record);
  keep_and_add(subject, std::move(record));
}

// It stands nowhere but here.
void Failures::keep_and_add(const Subject& subject, proto::FailureRecord record) {
  const std::string id = record.id;
  tally_.count(subject.service, subject.worker, id);
  unsafe_[subject.worker][id] = proto::encode(record, proto::max_record_text);
  name_and_add(subject, {std::move(record), [this, worker = subject.worker, id] {
                           tally_.forget(worker, id);
                           const auto known = unsafe_.find(worker);
                           if (known == unsafe_.end()) return;
                           known->second.erase(id);
                           if (known->second.empty()) unsafe_.erase(known);
                         }});
}

std::vector<std::string> Failures::unsafe_reports(core::WorkerId worker) const {
  std::vector<std::string> all;
  if (const auto known = unsafe_.find(worker); known != unsafe_.end())
    for (const auto& [id, json] : known->second) all.push_back(json);
  return all;
}

void Failures::report_again(const Subject& subject, std::string_view json) {
  if (auto record = proto::decode_record(json)) {
    identify(*record, subject);
    keep_and_add(subject, *std::move(record));
  }
}

Failures::Reports Failures::reports(core::WorkerId worker) const {
  const auto known = reports_.find(worker);
  return known == reports_.end() ? Reports() : known->second;
}

void Failures::forget(core::WorkerId worker) {
  crashes_.erase(crashes_.lower_bound({worker, 0}), crashes_.upper_bound({worker, UINT32_MAX}));
  fatal_.erase(worker);
  reports_.erase(worker);
  unsafe_.erase(worker);
}

}  // namespace refork::supervisor
