// A fatal signal in words. Pure.
#include "supervisor/crash_record.h"

#include <cinttypes>
#include <cstdio>

#include "base/fingerprint.h"
#include "base/signals.h"
#include "proto/stack.h"
#include "supervisor/failures.h"
#include "supervisor/record_ids.h"
#include "supervisor/thread_stacks.h"

namespace refork::supervisor {
namespace {

std::string name_of(int signal) {
  const std::string name(base::signal_name(signal));
  return name == "a signal" ? "signal " + std::to_string(signal) : name;
}

std::string message_of(const recorder::Crash& crash, std::int32_t own_pid) {
  std::string text = name_of(crash.signal);
  const std::string code(base::signal_code_name(crash.signal, crash.code));
  if (crash.sender != 0) {
    text += crash.sender == own_pid ? " raised by the process itself"
                                    : " sent by process " + std::to_string(crash.sender);
  } else {
    char address[32];
    std::snprintf(address, sizeof address, " at address 0x%" PRIx64, crash.address);
    text += address;
    if (!code.empty()) text += " (" + code + ")";
  }
  if (crash.contained) text += "; contained";
  return text;
}

// Whether or not the process can still be asked what its program is.
void mark_own(std::vector<proto::Frame>& stack) {
  for (auto& frame : stack)
    frame.in_app = frame.in_app || (!frame.module.empty() && !proto::is_system_path(frame.module) &&
                                    !proto::basename_of(frame.module).starts_with("librefork.so"));
}

}  // namespace

proto::FailureRecord crash_record(const Subject& subject, const recorder::Crash& crash,
                                  const std::string& executable) {
  proto::FailureRecord record;
  record.id = crash_id(subject, crash.slot);
  record.time_ms = crash.time_ms;
  record.kind = Kind::signal;
  record.message = message_of(crash, subject.pid);
  record.domains = crash.domains;
  if (!crash.domains.empty()) record.domain = crash.domains.front();
  record.thrown = false;
  if (crash.has_request) record.request = proto::RequestRef{crash.label, crash.age_ms, {}};
  record.stack = frames_of(crash.frames, executable, record.build_ids);
  mark_own(record.stack);
  record.fingerprint =
      base::to_hex(proto::fingerprint(name_of(crash.signal), record.stack, proto::FrameKey::place));
  record.in_flight_at_failure = crash.in_flight;
  record.fault = proto::Fault{crash.signal, crash.code, crash.address, crash.sender};
  return record;
}

}  // namespace refork::supervisor
