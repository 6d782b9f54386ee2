#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "core/history.h"
#include "core/operations.h"
#include "core/records.h"
#include "core/service_config.h"
#include "supervisor/failures.h"

namespace refork::supervisor {

// Everything that happens, told once to each who wants to know: the log, the history of its service, the
// doors.
class EventLog {
 public:
  explicit EventLog(const std::vector<core::ServiceConfig>& services);
  void publish_to(core::Publisher* publisher) { publisher_ = publisher; }

  void announce(core::Event event);  // fills in sequence and time
  void failed(const core::FailureRow& row, const std::string& summary);
  void finished(const Subject& subject, const Finished& finished);
  void message(core::WorkerId worker, std::string_view json);  // of an application; told to the doors only
  void changed();                                              // something that status() shows
  const core::History* history_of(std::string_view service) const;  // null: none of ours

 private:
  core::History* find(std::string_view service);

  core::Publisher* publisher_ = nullptr;
  std::map<std::string, core::History, std::less<>> histories_;
  std::uint64_t last_event_ = 0;
};

}  // namespace refork::supervisor
