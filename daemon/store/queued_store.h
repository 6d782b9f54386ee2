#pragma once

#include <memory>
#include <string>

#include "store/store.h"
#include "store/writer.h"

namespace refork::store {

// Store::open() with times of one's own.
std::unique_ptr<Store> open_store(const std::string& state_dir, core::StoreConfig config, Tuning tuning);

}  // namespace refork::store
