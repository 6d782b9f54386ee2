#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "store/queued_store.h"

namespace refork::store::testing {

using Json = nlohmann::json;
namespace fs = std::filesystem;

class TempDir {
 public:
  TempDir() {
    std::string name = (fs::temp_directory_path() / "refork-store-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string path() const { return path_; }
  std::string state() const { return path_ + "/state"; }  // made by the store
  std::string database() const { return state() + "/refork.db"; }

 private:
  std::string path_;
};

inline core::FailureRow failure(const std::string& id, std::uint64_t worker = 1, std::uint64_t time_ms = 0) {
  static std::uint64_t clock = 0;
  const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::system_clock::now().time_since_epoch());
  core::FailureRow row;
  row.id = id;
  row.time_ms = time_ms != 0 ? time_ms : static_cast<std::uint64_t>(now.count()) + ++clock;
  row.service = "web";
  row.slot = 3;
  row.worker = worker;
  row.kind = "exception";
  row.fingerprint = "00112233aabbccdd";
  row.record = Json{{"id", id}, {"message", "boom"}, {"worker", worker}}.dump();
  return row;
}

inline core::EndRow end_of(std::uint64_t worker, std::uint64_t time_ms = 0) {
  core::EndRow row;
  row.worker = worker;
  row.time_ms = time_ms != 0 ? time_ms : failure("").time_ms;
  row.service = "web";
  row.pid = 4711;
  row.requested = "error";
  row.outcome = "clean";
  row.cause = "drained";
  row.code = 1;
  row.drain = R"({"requested":"error","outcome":"clean","cut":[]})";
  row.exit = R"({"code":1,"signal":null,"core":false})";
  return row;
}

// A store and the main loop that it would have in reforkd.
class Loop {
 public:
  static constexpr Tuning quick{std::chrono::milliseconds(20), std::chrono::milliseconds(5000)};
  static constexpr std::chrono::seconds deadline{20};

  explicit Loop(const std::string& state_dir, core::StoreConfig config = {}, Tuning tuning = quick)
      : store_(open_store(state_dir, config, tuning)) {
    store_->last_worker_id();  // it is open
    store_->on_status_change() = [this] { states_.push_back(store_->status().state); };
  }

  Store& store() { return *store_; }
  Store* operator->() { return store_.get(); }
  const std::vector<std::string>& states() const { return states_; }

  // Waits for events, not for time: the deadline only ends a test that has failed.
  bool until(const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + deadline;
    while (!done()) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      pollfd wait{store_->fd(), POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0) return done();
      store_->dispatch();
    }
    return true;
  }

  template <class T>
  base::Result<T> answer(const std::function<void(Store::Reply<T>)>& ask) {
    std::optional<base::Result<T>> result;
    ask([&](base::Result<T> got) { result = std::move(got); });
    if (!until([&] { return result.has_value(); })) return base::Error{ETIMEDOUT, "no answer"};
    return std::move(*result);
  }

  bool add(core::FailureRow row) {
    bool stored = false;
    store_->add(std::move(row), [&] { stored = true; });
    return until([&] { return stored; });
  }
  bool end(core::EndRow row) {
    bool stored = false;
    store_->end(std::move(row), [&] { stored = true; });
    return until([&] { return stored; });
  }
  std::vector<Json> list(core::FailureFilter filter = {}) {
    auto result =
        answer<std::vector<std::string>>([&](auto reply) { store_->list(filter, std::move(reply)); });
    EXPECT_TRUE(result.ok()) << result.error().what;
    std::vector<Json> records;
    if (result)
      for (const auto& json : *result) records.push_back(Json::parse(json));
    return records;
  }
  std::vector<std::string> ids(core::FailureFilter filter = {}) {
    std::vector<std::string> ids;
    for (const Json& record : list(std::move(filter))) ids.push_back(record.at("id"));
    return ids;
  }
  std::vector<Json> top(core::FailureFilter filter = {}) {
    auto result =
        answer<std::vector<std::string>>([&](auto reply) { store_->top(filter, std::move(reply)); });
    EXPECT_TRUE(result.ok()) << result.error().what;
    std::vector<Json> groups;
    if (result)
      for (const auto& json : *result) groups.push_back(Json::parse(json));
    return groups;
  }
  base::Result<std::string> show(const std::string& prefix) {
    return answer<std::string>([&](auto reply) { store_->show(prefix, std::move(reply)); });
  }
  base::Result<std::uint64_t> clear(const std::string& service = {}) {
    return answer<std::uint64_t>([&](auto reply) { store_->clear(service, std::move(reply)); });
  }

 private:
  std::unique_ptr<Store> store_;
  std::vector<std::string> states_;
};

}  // namespace refork::store::testing
