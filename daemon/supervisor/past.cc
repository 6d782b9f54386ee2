// Histories in a memory that the next reforkd gets. A later line about an entry counts; what no history has
// any more goes with the next rewrite.
#include "supervisor/past.h"

#include "log/log.h"
#include "state/state.h"

namespace refork::supervisor {

void Past::add_service(const std::string& name) {
  histories_.try_emplace(name, [this, name](const core::HistoryEntry& entry) { keep(name, entry); });
}

core::History* Past::of(std::string_view service) {
  const auto found = histories_.find(service);
  return found == histories_.end() ? nullptr : &found->second;
}

void Past::adopt(Handover& handover) {
  if (auto memory = handover.take(history_name, fds_)) {
    auto lines = state::Lines::adopt(std::move(memory));
    if (lines) {
      lines_ = std::move(*lines);
      for (const auto& line : lines_->read())
        if (auto told = state::decode_told(line))
          if (auto* history = of(told->service)) history->restore(std::move(told->entry));
      return rewrite();
    }
    fds_.forget(history_name);
    log::warning("what happened before is not known any more: " + lines.error().what);
  }
  auto lines = state::Lines::create();
  if (!lines) return log::warning(lines.error().what);
  lines_ = std::move(*lines);
  fds_.keep(history_name, lines_->fd());
}

void Past::keep(const std::string& service, const core::HistoryEntry& entry) {
  if (!lines_) return;
  if (!lines_->append(state::encode(state::Told{service, entry})) || lines_->crowded()) rewrite();
}

void Past::rewrite() {
  std::vector<std::string> all;
  for (const auto& [service, history] : histories_)
    for (const auto& entry : history.entries({})) all.push_back(state::encode(state::Told{service, entry}));
  if (const auto written = lines_->rewrite(all); !written) log::warning(written.error().what);
}

}  // namespace refork::supervisor
