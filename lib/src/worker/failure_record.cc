// A captured failure becomes a record: an id, a fingerprint, frames, causes. Pure but for the clock and the
// random word; what is done with a record is FailureLog's business.

#include "worker/failure_record.h"

#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "base/fingerprint.h"
#include "proto/stack.h"
#include "worker/frames.h"

namespace refork::worker {
namespace {

std::uint32_t random_word() noexcept {
  static const std::uint32_t word = [] {
    std::uint32_t value = 0;
    if (getrandom(&value, sizeof value, GRND_NONBLOCK) != sizeof value)
      value = static_cast<std::uint32_t>(getpid()) * 2654435761u;
    return value;
  }();
  return word;
}

constexpr std::size_t id_size = sizeof MinimalRecord::id;

void print_id(char (&buffer)[id_size], std::uint64_t unix_ms) noexcept {
  static std::atomic<std::uint32_t> counter{0};
  std::snprintf(buffer, sizeof buffer, "%011" PRIx64 "-%08" PRIx32 "-%04" PRIx32, unix_ms, random_word(),
                ++counter);
}

void add_cause(std::vector<Cause>& causes, const Cause& cause) {
  const bool known = std::any_of(causes.begin(), causes.end(), [&cause](const Cause& other) {
    return other.type == cause.type && other.message == cause.message;
  });
  if (!known) causes.push_back(cause);
}

std::vector<Cause> causes_of(const Failure& failure) {
  std::vector<Cause> causes = failure.causes;
  if (failure.original) {
    add_cause(causes, {failure.original->type, failure.original->message});
    for (const auto& cause : failure.original->causes) add_cause(causes, cause);
  }
  return causes;
}

bool is_plain(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

}  // namespace

std::string make_record_id(std::uint64_t unix_ms) {
  char buffer[id_size];
  print_id(buffer, unix_ms);
  return buffer;
}

std::uint64_t unix_time_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::uint64_t fingerprint(std::string_view type, const std::vector<proto::Frame>& stack) noexcept {
  return proto::fingerprint(type, stack, proto::FrameKey::place);
}

bool amends(const Failure& failure) noexcept {
  return failure.kind == Kind::handler && failure.original && !failure.original->id.empty();
}

proto::FailureRecord make_record(const Failure& failure, Then then) {
  proto::FailureRecord record;
  record.time_ms = unix_time_ms();
  record.id = amends(failure) ? failure.original->id : make_record_id(record.time_ms);
  record.revision = amends(failure) ? 2 : 1;
  record.pid = getpid();
  record.kind = failure.kind;
  record.type = failure.type;
  record.message = failure.message;
  record.causes = causes_of(failure);
  record.domain = failure.domain;
  record.domains = failure.domains;
  record.thrown = failure.thrown;
  record.emitter = failure.emitter;
  record.bound = failure.bound;
  record.rethrown = failure.rethrown;
  record.context = failure.context;
  record.stack = describe_frames(failure.stack);
  record.build_ids = build_ids(failure.stack);
  record.fingerprint = base::to_hex(fingerprint(failure.type, record.stack));
  record.then = then;
  return record;
}

void make_minimal_record(MinimalRecord& record, const Failure& failure) noexcept {
  const auto now = unix_time_ms();
  print_id(record.id, now);
  const std::string_view known = failure.type;
  const std::string_view type = is_plain(known) ? known.substr(0, 120) : std::string_view("unknown");
  const auto kind = base::to_name(failure.kind);
  const auto length = std::snprintf(
      record.json, sizeof record.json,
      "{\"id\":\"%s\",\"revision\":1,\"time_ms\":%" PRIu64
      ",\"service\":\"\",\"slot\":0,\"worker\":0,\"pid\":%d,\"kind\":\"%.*s\",\"type\":\"%.*s\","
      "\"message\":\"(no memory was left to say "
      "more)\",\"causes\":[],\"domain\":null,\"domains\":[],\"thrown\":%s,"
      "\"emitter\":null,\"bound\":null,\"rethrown\":false,\"request\":null,\"context\":{},\"stack\":[],"
      "\"fingerprint\":\"%016" PRIx64 "\",\"count\":1,\"in_flight_at_failure\":0,\"then\":\"drain\"}",
      record.id, now, static_cast<int>(getpid()), static_cast<int>(kind.size()), kind.data(),
      static_cast<int>(type.size()), type.data(), failure.thrown ? "true" : "false", fingerprint(type, {}));
  record.length = length > 0 ? std::min(static_cast<std::size_t>(length), sizeof record.json - 1) : 0;
}

}  // namespace refork::worker
