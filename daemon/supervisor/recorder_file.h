#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "proto/record.h"
#include "recorder/reader.h"

namespace refork::supervisor {

// A worker's flight recorder and the file it lives in: SERVICE.SLOT.WORKER.PID.STARTTIME in the recorder
// directory, so that the next reforkd knows whose it was. The file goes once its worker is gone and all it
// held is stored.
class RecorderFile {
 public:
  // An empty directory: in memory only.
  static base::Result<std::shared_ptr<RecorderFile>> create(const std::string& directory,
                                                            const recorder::Identity& identity);
  // One made beforehand, for no worker yet: getting its memory is the longest part of a start that is not the
  // kernel's.
  static base::Result<std::shared_ptr<RecorderFile>> create_spare(const std::string& directory,
                                                                  const std::string& service);
  base::Result<void> assign(const recorder::Identity& identity);
  static base::Result<std::shared_ptr<RecorderFile>> open(const std::string& directory,
                                                          const std::string& name);
  ~RecorderFile();

  const recorder::Reader& reader() const noexcept { return reader_; }
  // The process that writes it is known now; it is part of the file's name.
  void name_process(std::int32_t pid, std::uint64_t start_time);

  // Records that were not taken yet. Each must be given back with stored() once it is safe.
  std::vector<recorder::StoredRecord> take();
  void stored(const recorder::StoredRecord& record);
  // The worker is gone; its end must be given back with end_stored().
  void worker_gone() noexcept { gone_ = true; }
  void end_stored() noexcept { end_stored_ = true; }

 private:
  void rename(const std::string& name);
  RecorderFile(recorder::Reader reader, std::string directory, std::string name);
  recorder::Reader reader_;
  std::string directory_, name_;
  std::set<std::pair<std::uint32_t, std::uint64_t>> taken_;  // slot and sequence: taken, not yet stored
  bool gone_ = false, end_stored_ = false;
};

// What the name of a recorder file tells.
struct RecorderName {
  std::string service;
  std::uint32_t slot = 0;
  std::uint64_t worker = 0;
  std::int32_t pid = 0;
  std::uint64_t start_time = 0;
};
std::optional<RecorderName> parse_recorder_name(const std::string& name);
std::vector<std::string> recorder_files(const std::string& directory);

}  // namespace refork::supervisor
