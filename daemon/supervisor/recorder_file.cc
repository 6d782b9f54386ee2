// The life of a recorder's file. A later mechanism (descriptors kept by systemd or a keeper) replaces this
// file alone.
#include "supervisor/recorder_file.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

namespace refork::supervisor {

namespace {

// Takes the part after the last dot off `name`.
template <class Number>
bool take_number(std::string& name, Number& number) {
  const auto dot = name.rfind('.');
  if (dot == std::string::npos || dot + 1 == name.size()) return false;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + dot + 1, end, number);
  if (error != std::errc{} || stop != end) return false;
  name.resize(dot);
  return true;
}

std::string file_name(const RecorderName& name) {
  return name.service + "." + std::to_string(name.slot) + "." + std::to_string(name.worker) + "." +
         std::to_string(name.pid) + "." + std::to_string(name.start_time);
}

}  // namespace

std::optional<RecorderName> parse_recorder_name(const std::string& name) {
  RecorderName parsed;
  parsed.service = name;
  if (!take_number(parsed.service, parsed.start_time) || !take_number(parsed.service, parsed.pid) ||
      !take_number(parsed.service, parsed.worker) || !take_number(parsed.service, parsed.slot) ||
      parsed.service.empty())
    return std::nullopt;
  return parsed;
}

std::vector<std::string> recorder_files(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(directory, ignored)) {
    auto name = entry.path().filename().string();
    if (parse_recorder_name(name)) names.push_back(std::move(name));
  }
  return names;
}

RecorderFile::RecorderFile(recorder::Reader reader, std::string directory, std::string name)
    : reader_(std::move(reader)), directory_(std::move(directory)), name_(std::move(name)) {}

base::Result<std::shared_ptr<RecorderFile>> RecorderFile::create(const std::string& directory,
                                                                 const recorder::Identity& identity) {
  const std::string name = file_name({identity.service, identity.slot, identity.worker, 0, 0});
  auto reader = recorder::Reader::create(directory.empty() ? "" : directory + "/" + name, identity);
  if (!reader) return reader.error();
  return std::shared_ptr<RecorderFile>(new RecorderFile(std::move(*reader), directory, name));
}

base::Result<std::shared_ptr<RecorderFile>> RecorderFile::open(const std::string& directory,
                                                               const std::string& name) {
  auto reader = recorder::Reader::open(directory + "/" + name);
  if (!reader) return reader.error();
  return std::shared_ptr<RecorderFile>(new RecorderFile(std::move(*reader), directory, name));
}

base::Result<std::shared_ptr<RecorderFile>> RecorderFile::create_spare(const std::string& directory,
                                                                       const std::string& service) {
  recorder::Identity nobody{};
  service.copy(nobody.service, sizeof nobody.service - 1);
  auto spare = create(directory, nobody);
  if (spare) (*spare)->gone_ = (*spare)->end_stored_ = true;  // nothing would be lost with it
  return spare;
}

base::Result<void> RecorderFile::assign(const recorder::Identity& identity) {
  if (auto assigned = reader_.assign(identity); !assigned) return assigned;
  gone_ = end_stored_ = false;
  rename(file_name({identity.service, identity.slot, identity.worker, 0, 0}));
  return {};
}

void RecorderFile::rename(const std::string& name) {
  if (directory_.empty()) return;
  if (std::rename((directory_ + "/" + name_).c_str(), (directory_ + "/" + name).c_str()) == 0) name_ = name;
}

RecorderFile::~RecorderFile() {
  if (!directory_.empty() && gone_ && end_stored_ && taken_.empty())
    ::unlink((directory_ + "/" + name_).c_str());
}

void RecorderFile::name_process(std::int32_t pid, std::uint64_t start_time) {
  auto parsed = parse_recorder_name(name_);
  if (!parsed) return;
  parsed->pid = pid;
  parsed->start_time = start_time;
  rename(file_name(*parsed));
}

std::vector<recorder::StoredRecord> RecorderFile::take() {
  auto records = reader_.records();
  if (!records) return {};
  std::vector<recorder::StoredRecord> fresh;
  for (auto& record : *records)
    if (!taken_.contains({record.slot, record.sequence})) fresh.push_back(std::move(record));
  for (const auto& record : fresh) taken_.insert({record.slot, record.sequence});
  return fresh;
}

void RecorderFile::stored(const recorder::StoredRecord& record) {
  reader_.release(record.slot, record.sequence);
  taken_.erase({record.slot, record.sequence});
}

}  // namespace refork::supervisor
