#pragma once

#include <string>
#include <utility>
#include <vector>

#include "proto/record.h"

namespace refork::worker {

// What stands at a return address: module and offset, and the function where the dynamic symbols tell it.
proto::Frame describe_frame(const void* return_address);
std::vector<proto::Frame> describe_frames(const std::vector<void*>& return_addresses);

// The build-ids of the modules that these addresses are in, as far as they have one: module path and hex.
std::vector<std::pair<std::string, std::string>> build_ids(const std::vector<void*>& return_addresses);

}  // namespace refork::worker
