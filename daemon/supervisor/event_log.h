#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/history.h"
#include "core/operations.h"
#include "core/records.h"
#include "core/service_config.h"
#include "supervisor/failures.h"
#include "supervisor/past.h"

namespace refork::supervisor {

// Everything that happens, told once to each who wants to know: the log, the history of its service, the
// doors.
class EventLog {
 public:
  EventLog(os::FdStore& fds, const std::vector<core::ServiceConfig>& services);
  void adopt(Handover& handover) { past_.adopt(handover); }  // what an earlier reforkd has told
  void publish_to(core::Publisher* publisher) { publisher_ = publisher; }

  void announce(core::Event event);  // fills in sequence and time
  void failed(const core::FailureRow& row, const std::string& summary);
  void finished(const Subject& subject, const Finished& finished);
  void message(core::WorkerId worker, std::string_view json);  // of an application; told to the doors only
  void changed();                                              // something that status() shows
  const core::History* history_of(std::string_view service) {
    return past_.of(service);
  }  // null: none of ours

 private:
  core::Publisher* publisher_ = nullptr;
  Past past_;
  std::uint64_t last_event_ = 0;
};

}  // namespace refork::supervisor
