// Counts identical failures. It neither makes nor sends records.

#include "worker/aggregator.h"

#include <algorithm>

namespace refork::worker {

void Aggregator::forget_old(Clock::time_point now) {
  std::erase_if(entries_, [now](const auto& item) {
    return !item.second.collected && item.second.start + window <= now;
  });
}

// Nothing if there are too many.
Aggregator::Entry* Aggregator::entry_of(std::uint64_t fingerprint, Clock::time_point now) {
  auto found = entries_.find(fingerprint);
  if (found != entries_.end() && !found->second.collected && found->second.start + window <= now) {
    entries_.erase(found);
    found = entries_.end();
  }
  if (found == entries_.end()) {
    if (entries_.size() >= max_kinds) forget_old(now);
    if (entries_.size() >= max_kinds) return nullptr;
    found = entries_.emplace(fingerprint, Entry{now, 0, std::nullopt}).first;
  }
  return &found->second;
}

void Aggregator::collect(Entry& entry, proto::FailureRecord& record) {
  if (entry.collected) {
    entry.collected->count += record.count;
    record.id = entry.collected->id;
  } else {
    entry.collected = record;
  }
}

bool Aggregator::admit(std::uint64_t fingerprint, proto::FailureRecord& record, Clock::time_point now) {
  Entry* entry = closed_ ? nullptr : entry_of(fingerprint, now);
  if (entry == nullptr) return true;
  if (entry->singles < max_single) {
    ++entry->singles;
    return true;
  }
  collect(*entry, record);
  return false;
}

bool Aggregator::postpone(std::uint64_t fingerprint, proto::FailureRecord& record, Clock::time_point now) {
  Entry* entry = closed_ ? nullptr : entry_of(fingerprint, now);
  if (entry == nullptr) return false;
  collect(*entry, record);
  return true;
}

bool Aggregator::amend(proto::FailureRecord& record) {
  for (auto& [fingerprint, entry] : entries_) {
    if (!entry.collected || entry.collected->id != record.id) continue;
    record.count = entry.collected->count;
    entry.collected = record;
    return true;
  }
  const auto left = std::find_if(flushed_.rbegin(), flushed_.rend(),
                                 [&record](const Flushed& flushed) { return flushed.id == record.id; });
  if (left != flushed_.rend()) record.count = left->count;
  return false;
}

std::optional<Aggregator::Clock::time_point> Aggregator::due() const {
  std::optional<Clock::time_point> first;
  for (const auto& [fingerprint, entry] : entries_)
    if (entry.collected) first = std::min(first.value_or(Clock::time_point::max()), entry.start + window);
  return first;
}

std::vector<proto::FailureRecord> Aggregator::flush(Clock::time_point now) {
  std::vector<proto::FailureRecord> records;
  for (auto item = entries_.begin(); item != entries_.end();) {
    if (!item->second.collected || item->second.start + window > now) {
      ++item;
      continue;
    }
    records.push_back(*std::move(item->second.collected));
    if (records.back().count > 1) flushed_.push_back({records.back().id, records.back().count});
    item = entries_.erase(item);
  }
  while (flushed_.size() > max_flushed) flushed_.pop_front();
  return records;
}

std::vector<proto::FailureRecord> Aggregator::close() {
  closed_ = true;
  return flush(Clock::time_point::max());
}

}  // namespace refork::worker
