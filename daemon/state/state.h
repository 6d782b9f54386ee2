#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/effects.h"
#include "core/history.h"
#include "core/service_config.h"
#include "core/service_state.h"
#include "core/status.h"

// What one reforkd leaves to the next beside descriptors, as JSON in a memfd. Version 1; one of another
// version is not read.
namespace refork::state {

inline constexpr std::uint32_t version = 1;

struct Listener {
  std::string fd_name;     // among the stored descriptors
  std::string configured;  // as in `listen`
  std::string address;     // as bound
  std::uint64_t inode = 0;
};

// A worker's process; its descriptors are stored under its names.
struct Process {
  core::WorkerId worker = 0;
  std::uint32_t slot = 0, generation = 1;
  std::int32_t pid = 0;
  std::uint64_t start_time = 0;  // os::start_time(): tells it from a later process of the same pid
  std::uint64_t started_ms = 0;  // Unix time
  std::optional<std::uint64_t> served_before_drain;
  bool greeted = false;     // its hello has come
  bool told_to_go = false;  // its drain was ordered, by message or signal
  std::string boot_error, status;
  std::string output;  // as Subject's of the supervisor
  std::uint64_t output_from = 0;
  std::optional<std::uint64_t> output_to;
  std::vector<std::string> unsafe_reports;       // JSON, not known to be on disk
  std::map<std::string, std::uint32_t> reports;  // of reforkd's own failures about it: how many of each kind
};

// A worker that is gone, whose last rows are not known to be on disk.
struct End {
  Process process;
  core::Ended ended;
  std::string encoded = {};  // itself as JSON, once that was made: it does not change any more
};

// One that was counted and perhaps told, and stands where the next reforkd will meet it again.
struct MetFailure {
  core::WorkerId worker = 0;
  std::string id;
  bool told = false;
};

struct Service {
  std::string name;
  std::string print;             // of what its workers are started with
  std::string wanted_print;      // of what they would be started with, had no reload of it failed
  std::uint32_t configured = 0;  // workers, before anybody scaled it
  core::ReadyBy ready = core::ReadyBy::library;
  core::Millis drain_deadline{0};
  std::uint64_t failures = 0;
  core::ServiceState shown = core::ServiceState::stopped;  // as was announced last
  core::ServiceSnapshot core;
  std::vector<Listener> listeners;
  std::vector<Process> processes;
  std::vector<End> ends;
  std::vector<MetFailure> met;
};

struct Daemon {
  std::uint64_t last_worker = 0, last_listener = 0;
  std::vector<Service> services;
};

std::string encode(const Service& service);
std::string encode(const End& end);
// Of services that are encoded already.
std::string encode(std::uint64_t last_worker, std::uint64_t last_listener,
                   const std::map<std::string, std::string>& services);
base::Result<Daemon> decode(std::string_view text);

// What happened to a service, one line of the history.
struct Told {
  std::string service;
  core::HistoryEntry entry;
};
std::string encode(const Told& told);
base::Result<Told> decode_told(std::string_view line);

}  // namespace refork::state
