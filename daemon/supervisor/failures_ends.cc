// A worker's end: what became of its last requests, by its flight recorder, and what it wrote last. Stored
// after the last of its failures, which are in failures.cc.
#include <algorithm>
#include <utility>

#include "log/log.h"
#include "supervisor/failures.h"
#include "supervisor/thread_stacks.h"

namespace refork::supervisor {

namespace {

// What the thread of a request was doing when somebody asked last, and it was in this very request.
std::vector<proto::Frame> stack_in(const recorder::InFlight& request,
                                   const std::vector<recorder::ThreadStack>& stacks, BuildIds& build_ids) {
  const auto found = std::ranges::find_if(stacks, [&](const recorder::ThreadStack& stack) {
    return stack.tid == request.thread && !stack.request_label.empty() &&
           stack.request_label == request.label;
  });
  return found == stacks.end() ? std::vector<proto::Frame>() : frames_of(found->frames, "", build_ids);
}

proto::Outcome outcome_of(const core::Ended& ended, const KeptRecorder& recorder,
                          std::uint64_t served_before_drain, std::uint64_t& served, BuildIds& build_ids) {
  proto::Outcome outcome;
  outcome.requested = ended.requested;
  outcome.outcome = ended.outcome;
  outcome.duration_ms = static_cast<std::uint64_t>(ended.drain_duration.count());
  outcome.exit_code = ended.code;
  outcome.exit_signal = ended.signal;
  outcome.core = ended.core;
  outcome.core_file = ended.core_file;
  if (const auto counters = recorder.reader().counters()) {
    served = counters->served;
    outcome.counted = counters->pid != 0;
    outcome.crossed = counters->crossed;
    if (!ended.outcome.empty() && served > served_before_drain)
      outcome.completed = served - served_before_drain;
  }
  const auto stacks = recorder.reader().thread_stacks();
  if (auto cut = recorder.reader().in_flight())
    for (const auto& request : *cut)
      outcome.cut.push_back({request.label, request.age_ms, stack_in(request, stacks, build_ids)});
  return outcome;
}

}  // namespace

// The frames of the requests that it cut get their names.
void Failures::name_cut(const Subject& subject) {
  const auto worker = subject.worker;
  proto::FailureRecord about;
  about.build_ids = ends_.at(worker).build_ids;
  const std::vector<proto::RequestRef> cut = ends_.at(worker).outcome.cut;
  for (std::size_t i = 0; i < cut.size(); ++i) {
    if (cut[i].stack.empty()) continue;
    ask(subject, about, cut[i].stack, [this, worker, i](std::optional<proto::SymbolAnswer> answer) {
      const auto found = ends_.find(worker);
      if (found == ends_.end()) return;
      if (answer) name_stack(found->second.outcome.cut[i].stack, *answer);
      --found->second.unnamed;
      add_end_of(worker);
    });
  }
}

// The record of the end is amended; who waits for the worker's end sees it whole.
void Failures::ask_for_output(core::WorkerId worker) {
  End& end = ends_.at(worker);
  const Subject subject = *std::exchange(end.output, std::nullopt);
  if (!fatal_.contains(worker)) return add_end_of(worker);
  end.asked = true;
  outputs_->ask(subject, [this, worker](std::string text) {
    const auto found = ends_.find(worker);
    if (found == ends_.end()) return;
    found->second.asked = false;
    if (auto node = fatal_.extract(worker); !node.empty() && !text.empty()) {
      proto::FailureRecord& record = node.mapped();
      ++record.revision;
      record.output_tail = redactor(record.service, false).text(text);
      add(record, [] {});
    }
    add_end_of(worker);
  });
}

void Failures::store_end(End end) {
  end.row.drain = proto::encode_drain(end.outcome);
  end.row.exit = proto::encode_exit(end.outcome);
  store_.end(std::move(end.row), std::move(end.stored));
}

// After the last of the worker's records, so that a failure with an end is a failure that is complete.
void Failures::add_end_of(core::WorkerId worker) {
  const bool more =
      std::ranges::any_of(waiting_, [worker](const auto& one) { return one.second.record.worker == worker; });
  const auto end = ends_.find(worker);
  if (more || end == ends_.end() || end->second.unnamed != 0) return;
  if (end->second.output) return ask_for_output(worker);
  if (end->second.asked) return;
  fatal_.erase(worker);
  store_end(std::move(ends_.extract(end).mapped()));
}

Finished Failures::end(const Subject& subject, const core::Ended& ended,
                       const std::shared_ptr<KeptRecorder>& recorder, std::uint64_t served_before_drain) {
  crashes_.erase(crashes_.lower_bound({subject.worker, 0}),
                 crashes_.upper_bound({subject.worker, UINT32_MAX}));
  core::EndRow row;
  BuildIds build_ids;
  proto::Outcome outcome = outcome_of(ended, *recorder, served_before_drain, row.served, build_ids);
  redactor(subject.service, recorder->reader().shows_query()).apply(outcome);
  row.worker = subject.worker;
  row.time_ms = unix_ms();
  row.service = subject.service;
  row.slot = subject.slot;
  row.pid = subject.pid;
  row.generation = ended.generation;
  row.lived_ms = static_cast<std::uint64_t>(ended.lived.count());
  row.requested = ended.requested;
  row.outcome = ended.outcome;
  row.cause = ended.cause;
  row.code = ended.code;
  row.signal = ended.signal;
  row.core = ended.core;
  row.completed = outcome.completed;
  row.crossed = outcome.crossed;
  row.cut = outcome.cut.size();
  Finished finished;
  if (outcome.counted) finished.cut = row.cut;
  if (outcome.counted && !ended.outcome.empty()) finished.completed = row.completed;
  recorder->worker_gone();
  End end{
      std::move(row), std::move(outcome), [recorder] { recorder->end_stored(); }, std::move(build_ids), 0, {},
      false};
  if (outputs_ && !subject.output.empty()) end.output = subject;
  for (const auto& cut : end.outcome.cut)
    if (!cut.stack.empty()) ++end.unnamed;
  reports_.erase(subject.worker);
  ends_.insert_or_assign(subject.worker, std::move(end));
  name_cut(subject);
  add_end_of(subject.worker);
  for (const auto& dropped : recorder->reader().dropped())
    log::warning(subject.service + " worker " + std::to_string(subject.worker) + ": " +
                 std::to_string(dropped.count) + " failures found no place in its flight recorder");
  return finished;
}

}  // namespace refork::supervisor
