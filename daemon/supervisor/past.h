#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "core/history.h"
#include "os/fd_store.h"
#include "state/lines.h"
#include "supervisor/handover.h"

namespace refork::supervisor {

// The histories of all services, and where they outlive reforkd: each entry is written down as it is made
// and as it changes.
class Past {
 public:
  explicit Past(os::FdStore& fds) : fds_(fds) {}
  Past(const Past&) = delete;
  Past& operator=(const Past&) = delete;

  void add_service(const std::string& name);
  core::History* of(std::string_view service);  // null: none of ours
  // What an earlier reforkd left of these services. What cannot be read is told, and costs nothing else.
  void adopt(Handover& handover);

 private:
  void keep(const std::string& service, const core::HistoryEntry& entry);
  void rewrite();

  os::FdStore& fds_;
  std::optional<state::Lines> lines_;
  std::map<std::string, core::History, std::less<>> histories_;
};

}  // namespace refork::supervisor
