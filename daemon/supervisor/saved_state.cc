// The state between two lives of reforkd, where it is kept and when it is written.
#include "supervisor/saved_state.h"

#include <algorithm>
#include <utility>

#include "log/log.h"

namespace refork::supervisor {

using base::Result;

std::optional<state::Daemon> SavedState::take(Handover& handover) {
  auto fd = handover.take(state_name, fds_);
  if (!fd) return std::nullopt;
  auto memory = state::Memory::adopt(std::move(fd));
  auto text = memory ? memory->read() : Result<std::string>(memory.error());
  auto before = text ? state::decode(*text) : Result<state::Daemon>(text.error());
  if (before) {
    memory_ = std::move(*memory);
    return std::move(*before);
  }
  fds_.forget(state_name);
  log::error("what an earlier reforkd left cannot be read: " + before.error().what +
             "; its workers drain, and others are started");
  return std::nullopt;
}

state::Daemon SavedState::read(Handover& handover, const std::function<core::WorkerId()>& stored_worker) {
  if (auto before = take(handover)) {
    for (const auto& service : before->services) services_[service.name] = state::encode(service);
    // Not those that the store has reserved: whose they were is known here.
    last_worker = std::max(before->last_worker, handover.highest_worker());
    last_listener = before->last_listener;
    return *std::move(before);
  }
  last_worker = std::max(stored_worker(), handover.highest_worker());
  last_listener = handover.highest_listener();
  if (auto memory = state::Memory::create())
    memory_ = std::move(*memory);
  else
    log::error(memory.error().what + "; the next reforkd will not know these workers");
  return {};
}

void SavedState::keep() {
  if (memory_ && !fds_.kept().contains(state_name)) fds_.keep(state_name, memory_->fd());
}

void SavedState::save(const std::string& service, std::string text) {
  auto& saved = services_[service];
  if (!memory_ || saved == text) return;
  saved = std::move(text);
  write();
}

void SavedState::write() {
  if (!memory_) return;
  if (auto written = memory_->write(state::encode(last_worker, last_listener, services_)); !written)
    log::error(written.error().what);
}

}  // namespace refork::supervisor
