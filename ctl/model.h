#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

// What reforkd tells over D-Bus, as plain values.
namespace refork::ctl {

struct Worker {
  std::uint64_t id = 0;  // 0: an empty slot, waiting for its next start
  std::string service;
  std::uint32_t slot = 0;
  std::int32_t pid = 0;
  std::string state;
  std::uint32_t generation = 0;
  std::uint64_t in_flight = 0, served = 0;
  bool tainted = false;
  std::uint64_t started_ms = 0;  // this and the next two: Unix time, 0: does not apply
  std::uint64_t deadline_ms = 0, next_start_ms = 0;
  std::uint64_t rss_bytes = 0;
  std::string why;
};

struct Service {
  std::string name, state;
  std::uint32_t generation = 0, wanted = 0;
  std::uint64_t failures = 0, restarts = 0;
  std::vector<std::string> listen;
  std::string log;  // where its workers' output goes: journal | inherit | null | file:PATH
  std::string why;
  std::vector<Worker> workers;  // by slot, then id
};

struct Store {
  std::string state, why, path;
  std::uint64_t waiting = 0, dropped = 0;
};

struct Daemon {
  std::string version;
  std::int32_t pid = 0;
  std::uint64_t started_ms = 0, rss_bytes = 0;
  std::string config;
  Store store;
};

struct Status {
  Daemon daemon;
  std::vector<Service> services;  // by name
};

struct Event {
  std::uint64_t sequence = 0, time_ms = 0;
  std::string type, service;
  std::int32_t slot = -1;
  std::uint64_t worker = 0;
  std::int32_t pid = 0;
  std::string text;
};

// One line of a service's log: of a worker's output, or an event.
struct LogLine {
  std::uint64_t time_ms = 0;  // 0: not known
  std::string source;         // who says it: the service, or reforkd
  std::int32_t slot = -1;
  std::uint64_t worker = 0;
  std::int32_t pid = 0;
  std::string event;  // its type; empty: output
  std::string text;
};

// What lasts, and keeps something from being as it is wanted.
struct Condition {
  std::int32_t slot = -1;  // -1: the service
  std::uint64_t worker = 0;
  std::string kind, text;
  std::uint64_t until_ms = 0;  // Unix time; 0: nobody knows
};

// One link of the causal line.
struct HistoryEntry {
  std::uint64_t time_ms = 0;
  std::int32_t slot = -1;
  std::uint64_t worker = 0;
  std::int32_t pid = 0;
  std::string what, text, detail, failure;
  std::uint64_t instead_of = 0;
  std::string by;
  std::uint64_t waited_ms = 0;
  std::string waited_for;
  std::int64_t duration_ms = -1, completed = -1, cut = -1;  // -1: does not apply
  std::uint64_t count = 1;
};

struct Why {
  Service service;         // as it is now ...
  std::int32_t slot = -1;  // ... or this one of its slots
  std::vector<Condition> conditions;
  std::vector<HistoryEntry> history;  // by time
};

struct Cause {
  std::string type, message;
};

struct Frame {
  std::string function, file;
  std::uint64_t line = 0;
  std::string module;
  std::uint64_t offset = 0;
  bool in_app = false;
};

struct Request {
  std::string label;
  std::uint64_t age_ms = 0;
  std::vector<Frame> stack = {};  // of its thread, where it was cut
};

// What a signal said of itself.
struct Fault {
  std::int64_t signal = 0, si_code = 0;
  std::string address;
  std::int64_t sender = 0;  // a process; 0: none, or not known
};

struct Thread {
  std::uint64_t tid = 0;
  std::string name, request;
  std::vector<Frame> stack;
};

// One record of `failures --json`, as far as people read it.
struct Failure {
  std::string id;
  std::uint64_t time_ms = 0;
  std::string service;
  std::uint64_t slot = 0, worker = 0, pid = 0;
  std::string kind, type, message;
  std::vector<Cause> causes;
  std::string domain, emitter, bound, fingerprint;
  std::vector<std::string> domains;
  bool thrown = true, rethrown = false;
  std::string then;
  std::optional<Request> request;
  std::vector<std::pair<std::string, std::string>> context;
  std::vector<Frame> stack;
  std::uint64_t count = 1;
  std::optional<std::uint64_t> in_flight;  // nothing: nobody knows
  struct Drain {
    std::string requested, outcome;
    std::uint64_t duration_ms = 0, completed = 0, crossed = 0;
    std::vector<Request> cut;
    bool counted = true;  // false: what it had under way is not known
  };
  std::optional<Drain> drain;
  struct Exit {
    std::optional<std::int64_t> code, signal;
    bool core = false;
    std::string core_file = {};
  };
  std::optional<Exit> exit;
  std::optional<Fault> fault;
  std::vector<Thread> threads;
  std::string output_tail;
  bool unnamed = false;
};

// One entry of `failures top --json`: the failures of one fingerprint.
struct FailureGroup {
  std::string fingerprint;
  std::uint64_t count = 0, records = 0;
  std::uint64_t first_ms = 0, last_ms = 0;
  std::vector<std::string> services;
  std::string kind, type, message;  // this and the next two: of the newest
  std::optional<Frame> where;
  std::string id;
};

}  // namespace refork::ctl
