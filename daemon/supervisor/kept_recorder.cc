// What reforkd knows of a flight recorder beside what stands in it: which records are taken and not yet safe.
// The memory itself outlives reforkd, by whoever keeps its descriptor.
#include "supervisor/kept_recorder.h"

#include <exception>

#include "log/log.h"

namespace refork::supervisor {

base::Result<std::shared_ptr<KeptRecorder>> KeptRecorder::create(const recorder::Identity& identity) {
  auto reader = recorder::Reader::create(identity);
  if (!reader) return reader.error();
  return std::shared_ptr<KeptRecorder>(new KeptRecorder(std::move(*reader)));
}

base::Result<std::shared_ptr<KeptRecorder>> KeptRecorder::adopt(base::UniqueFd memory) {
  auto reader = recorder::Reader::adopt(std::move(memory));
  if (!reader) return reader.error();
  return std::shared_ptr<KeptRecorder>(new KeptRecorder(std::move(*reader)));
}

KeptRecorder::~KeptRecorder() {
  if (!when_done_ || !gone_ || !end_stored_ || !taken_.empty()) return;
  try {
    when_done_();
  } catch (const std::exception& error) {
    log::error(std::string("a flight recorder was not let go: ") + error.what());
  }
}

std::vector<recorder::StoredRecord> KeptRecorder::take() {
  auto records = reader_.records();
  if (!records) return {};
  std::vector<recorder::StoredRecord> fresh;
  for (auto& record : *records)
    if (!taken_.contains({record.slot, record.sequence})) fresh.push_back(std::move(record));
  for (const auto& record : fresh) taken_.insert({record.slot, record.sequence});
  return fresh;
}

void KeptRecorder::stored(const recorder::StoredRecord& record) {
  reader_.release(record.slot, record.sequence);
  taken_.erase({record.slot, record.sequence});
}

}  // namespace refork::supervisor
