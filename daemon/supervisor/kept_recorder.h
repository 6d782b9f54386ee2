#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "recorder/reader.h"

namespace refork::supervisor {

// A worker's flight recorder, and which of its records are on their way to the store. It is done once its
// worker is gone and all it held is stored.
class KeptRecorder {
 public:
  static base::Result<std::shared_ptr<KeptRecorder>> create(const recorder::Identity& identity);
  // One made beforehand, for no worker yet: getting its memory is the longest part of a start that is not the
  // kernel's.
  static base::Result<std::shared_ptr<KeptRecorder>> create_spare() { return create({}); }
  static base::Result<std::shared_ptr<KeptRecorder>> adopt(base::UniqueFd memory);
  base::Result<void> assign(const recorder::Identity& identity) { return reader_.assign(identity); }
  ~KeptRecorder();

  const recorder::Reader& reader() const noexcept { return reader_; }
  // Called at most once, when it is done, with its descriptor still open.
  void when_done(std::function<void()> callback) { when_done_ = std::move(callback); }

  // Records that were not taken yet. Each must be given back with stored() once it is safe.
  std::vector<recorder::StoredRecord> take();
  void stored(const recorder::StoredRecord& record);
  // The worker is gone; its end must be given back with end_stored().
  void worker_gone() noexcept { gone_ = true; }
  void end_stored() noexcept { end_stored_ = true; }

 private:
  explicit KeptRecorder(recorder::Reader reader) : reader_(std::move(reader)) {}
  recorder::Reader reader_;
  std::function<void()> when_done_;
  std::set<std::pair<std::uint32_t, std::uint64_t>> taken_;  // slot and sequence: taken, not yet stored
  bool gone_ = false, end_stored_ = false;
};

}  // namespace refork::supervisor
