#pragma once

#include <string>
#include <vector>

#include "ctl/model.h"
#include "ctl/text.h"

// What people see, as text with its final newline. Pure; whatever came from a worker is escaped here.
namespace refork::ctl {

std::string render_status(const Status& status, const View& view);
std::string render_failures(const std::vector<Failure>& failures, const View& view);
std::string render_failure(const Failure& failure, const View& view);
std::string render_top(const std::vector<FailureGroup>& groups, const View& view);
std::string render_place(const Frame& frame);  // "function at file:line", without a newline
std::string render_why(const Why& why, const View& view);
std::string render_event(const Event& event, const View& view);
std::string render_log_line(const LogLine& line, const View& view);
std::string render_message(std::uint64_t worker, std::string_view json, const View& view);

}  // namespace refork::ctl
