// Who is told of what. What events mean, and why they happened, is known to those who announce them and to
// core::History.
#include "supervisor/event_log.h"

#include <utility>

#include "log/log.h"

namespace refork::supervisor {

namespace {

log::Level level_of(const core::Event& event) {
  if (event.type == "failure" || event.type == "keeper-started" || event.type == "protocol" ||
      event.type == "listener-reopened" || event.type == "worker-killed")
    return log::Level::warning;
  return log::Level::info;
}

}  // namespace

EventLog::EventLog(os::FdStore& fds, const std::vector<core::ServiceConfig>& services) : past_(fds) {
  for (const auto& service : services) past_.add_service(service.name);
}

void EventLog::announce(core::Event event) {
  event.sequence = ++last_event_;
  event.time_ms = unix_ms();
  log::event(level_of(event), event);
  if (auto* history = past_.of(event.service)) history->add(event);
  if (publisher_) publisher_->event(event);
}

void EventLog::failed(const core::FailureRow& row, const std::string& summary) {
  core::Event event{.type = "failure"};
  event.service = row.service;
  event.slot = row.slot;
  event.worker = row.worker;
  event.pid = row.pid;
  event.failure = row.id;
  event.kind = row.kind;
  event.fingerprint = row.fingerprint;
  event.text = row.kind + " " + row.id;
  event.detail = summary;
  announce(std::move(event));
  if (auto* history = past_.of(row.service)) history->failed(row, summary);
  if (publisher_) publisher_->failure_recorded(row);
}

void EventLog::finished(const Subject& subject, const Finished& finished) {
  if (auto* history = past_.of(subject.service))
    history->finished(subject.worker, finished.completed, finished.cut);
}

void EventLog::message(core::WorkerId worker, std::string_view json) {
  if (publisher_) publisher_->message(worker, json);
}

void EventLog::changed() {
  if (publisher_) publisher_->changed();
}

}  // namespace refork::supervisor
