#pragma once

#include <string>
#include <vector>

#include "proto/record.h"

namespace refork::worker {

// What stands at a return address: module and offset, and the function where the dynamic symbols tell it.
proto::Frame describe_frame(const void* return_address);
std::vector<proto::Frame> describe_frames(const std::vector<void*>& return_addresses);

// Whether a path is one of the system's own libraries (/lib, /usr/lib and their kin).
bool is_system_path(std::string_view path) noexcept;

}  // namespace refork::worker
