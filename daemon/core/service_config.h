#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/enum_names.h"

namespace refork::core {

using Millis = std::chrono::milliseconds;

enum class ReadyBy {
  library,
  notify,
  exec
};
enum class RestartPolicy {
  always,
  never
};
// What linked workers do when their channel ends and nobody can come back.
enum class Orphans {
  drain,
  serve
};

struct Limit {
  std::string name;                    // "nofile", as in setrlimit(2) without RLIMIT_, lower case
  std::optional<std::uint64_t> value;  // nothing: unlimited
};

// One service, as its file or its command line describes it. Keys of refork.json have the members' names.
struct ServiceConfig {
  std::string name;
  std::vector<std::string> command;  // [0] is looked up in PATH if it has no slash
  std::uint32_t workers = 1;
  std::uint32_t floor = 1;  // accepting workers under which a drain waits for its replacement
  ReadyBy ready = ReadyBy::library;
  std::vector<std::string> listen;  // "tcp://0.0.0.0:80", "tcp://[::]:80", "unix:/run/web.sock"
  bool nonblocking = true;
  std::string user;       // empty: the daemon's own
  std::string directory;  // empty: the daemon's own
  std::map<std::string, std::string> environment;
  std::vector<Limit> limits;
  Millis start_timeout{10000};
  Millis drain_deadline{30000};
  Millis lame_duck{1000};
  std::optional<Millis> watchdog;         // a worker that beat, and has not for so long, is hung
  std::optional<Millis> request_timeout;  // of a request that says no other
  Orphans orphans = Orphans::drain;
  std::uint32_t core_dumps = 6;  // an hour; further crashes dump none
  struct Restart {
    RestartPolicy policy = RestartPolicy::always;
    Millis backoff_min{100}, backoff_max{30000};  // boot failures only
    std::uint32_t budget = 0;                     // voluntary drains ...; 0: 10 x workers
    Millis budget_window{10000};                  // ... in this time
    std::optional<std::uint32_t> give_up;         // boot failures in a row; nothing: never
    bool operator==(const Restart&) const = default;
  } restart;
  struct Reload {
    Millis probation{2000};  // how long a new generation must live before the old one drains
    bool operator==(const Reload&) const = default;
  } reload;
  // A worker is replaced when one of these is reached, give or take a tenth.
  struct Recycle {
    std::optional<std::uint64_t> requests;  // served
    std::optional<Millis> age;
    std::optional<std::uint64_t> memory;  // bytes resident
    bool operator==(const Recycle&) const = default;
  } recycle;
  std::string log = "auto";  // auto | journal | inherit | file:PATH | null
  // What is hidden in records, as proto::Redactor takes it. Nothing: the usual, and the application may show
  // its queries.
  std::optional<std::vector<std::string>> redact;
};

struct StoreConfig {
  std::uint64_t max_failures = 10000;  // the oldest beyond this many are removed
  std::chrono::hours max_age{24 * 30};
};

struct DaemonConfig {
  std::vector<ServiceConfig> services;
  StoreConfig store;
};

}  // namespace refork::core

namespace refork::base {
template <>
struct EnumNames<core::ReadyBy> {
  static constexpr std::array<std::string_view, 3> names = {"library", "notify", "exec"};
};
template <>
struct EnumNames<core::Orphans> {
  static constexpr std::array<std::string_view, 2> names = {"drain", "serve"};
};
template <>
struct EnumNames<core::RestartPolicy> {
  static constexpr std::array<std::string_view, 2> names = {"always", "never"};
};
}  // namespace refork::base
