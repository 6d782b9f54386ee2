// One failure in full: the cause in the first lines, then the request and the place, then everything else.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "ctl/render.h"

namespace refork::ctl {

namespace {

constexpr std::size_t label_width = 9;

// "request  GET /": nothing without a value. Not cut: this is where one reads it all.
std::string field(std::string_view label, const std::string& value, const View& view) {
  if (value.empty()) return "";
  std::string padded(label);
  padded.resize(label_width, ' ');
  return paint(padded, Color::dim, view) + value + "\n";
}

std::string signal_name(std::int64_t number) {
  const char* name = ::sigabbrev_np(static_cast<int>(number));
  return name ? "SIG" + std::string(name) : "signal " + std::to_string(number);
}

std::string place(const Frame& frame) {
  std::string at;
  if (!frame.file.empty()) {
    at = escape(frame.file) + (frame.line ? ":" + std::to_string(frame.line) : "");
  } else {
    char offset[24];
    std::snprintf(offset, sizeof offset, "+0x%llx", static_cast<unsigned long long>(frame.offset));
    at = escape(frame.module) + offset;
  }
  return frame.function.empty() ? at : escape(frame.function) + " at " + at;
}

std::string where(const Failure& failure) {
  const auto own = std::ranges::find_if(failure.stack, &Frame::in_app);
  if (own != failure.stack.end()) return place(*own);
  return failure.stack.empty() ? "" : place(failure.stack.front());
}

std::string request_text(const Request& request) {
  return escape(request.label) + " (" + humane_duration(request.age_ms) + " old)";
}

std::string head(const Failure& failure, const View& view) {
  std::string error = escape(failure.type);
  if (!failure.message.empty()) error += (error.empty() ? "" : ": ") + escape(failure.message);
  if (error.empty()) error = escape(failure.kind);
  std::string out = escape(failure.service) + "/" + std::to_string(failure.slot) + " worker " +
                    std::to_string(failure.worker) + ": " + paint(error, Color::red, view) + "\n";
  for (const auto& cause : failure.causes)
    out += "  caused by " + escape(cause.type) + ": " + escape(cause.message) + "\n";
  return out;
}

std::string domain_text(const Failure& failure) {
  std::string out = escape(failure.domain);
  for (const auto& outer : failure.domains)
    if (outer != failure.domain) out += (out.empty() ? "" : " in ") + escape(outer);
  if (!failure.bound.empty()) out += ", through callback " + escape(failure.bound);
  if (!failure.emitter.empty()) out += ", reported by " + escape(failure.emitter);
  return out;
}

std::string drain_text(const Failure::Drain& drain) {
  if (drain.requested.empty() && drain.outcome.empty()) return "";
  std::string out = drain.outcome.empty() ? "not over yet" : escape(drain.outcome);
  if (!drain.requested.empty()) out += ", asked for by " + escape(drain.requested);
  out += ", after " + humane_duration(drain.duration_ms) + ", " + count_of(drain.completed, "request") +
         " completed";
  if (drain.crossed != 0) out += ", " + std::to_string(drain.crossed) + " crossed";
  if (!drain.cut.empty()) out += ", " + std::to_string(drain.cut.size()) + " cut";
  return out;
}

std::string exit_text(const Failure::Exit& exit) {
  if (exit.signal) return signal_name(*exit.signal) + (exit.core ? ", core dumped" : "");
  return exit.code ? "code " + std::to_string(*exit.code) : "";
}

std::string stack_lines(const Failure& failure, const View& view) {
  if (failure.stack.empty()) return "";
  std::string out = field(
      "stack", failure.rethrown ? "(of a rethrow; the first throw is not known)" : "newest first", view);
  for (std::size_t i = 0; i < failure.stack.size(); ++i) {
    const auto& frame = failure.stack[i];
    out += "  #" + std::to_string(i) + (i < 10 ? "  " : " ") +
           paint(place(frame), frame.in_app ? Color::bold : Color::none, view) + "\n";
  }
  return out;
}

}  // namespace

std::string render_failure(const Failure& failure, const View& view) {
  std::string out = head(failure, view);
  if (failure.request) out += field("request", request_text(*failure.request), view);
  out += field("where", where(failure), view) + "\n";
  out += field("id", escape(failure.id), view);
  out += field("time", humane_time(failure.time_ms), view);
  out += field("kind", escape(failure.kind), view);
  if (failure.pid != 0) out += field("pid", std::to_string(failure.pid), view);
  if (failure.count > 1) out += field("count", std::to_string(failure.count), view);
  out += field("print", escape(failure.fingerprint), view);
  out += field("domain", domain_text(failure), view);
  out += field("inflight", std::to_string(failure.in_flight), view);
  if (failure.drain) {
    out += field("drain", drain_text(*failure.drain), view);
    for (const auto& cut : failure.drain->cut) out += "  cut " + request_text(cut) + "\n";
  }
  if (failure.exit) out += field("exit", exit_text(*failure.exit), view);
  for (const auto& [key, value] : failure.context)
    out += field("context", escape(key) + " = " + escape(value), view);
  out += stack_lines(failure, view);
  if (!failure.output_tail.empty()) out += field("output", escape(failure.output_tail), view);
  return out;
}

}  // namespace refork::ctl
