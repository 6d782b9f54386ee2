#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "ctl/model.h"

// JSON for scripts: names are fixed (reforkctl(1)); and records as reforkd hands them out, read back.
namespace refork::ctl {

std::string status_json(const Status& status);
std::string why_json(const Why& why);
std::string event_json(const Event& event);  // one line
std::string log_line_json(const LogLine& line);
std::string message_json(std::uint64_t worker, std::string_view json);  // one line
std::string failures_json(const std::vector<std::string>& records);     // an array of the records as they are
base::Result<Failure> parse_failure(std::string_view record);
base::Result<FailureGroup> parse_group(std::string_view group);
bool is_json(std::string_view text);

}  // namespace refork::ctl
