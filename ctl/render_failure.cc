// One failure in full: the cause in the first lines, then the request and the place, then everything else.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include "ctl/render.h"

namespace refork::ctl {

namespace {

constexpr std::size_t label_width = 13;

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
  } else if (!frame.module.empty() || frame.function.empty()) {
    char offset[24];
    std::snprintf(offset, sizeof offset, "+0x%llx", static_cast<unsigned long long>(frame.offset));
    at = escape(frame.module) + offset;
  }
  if (at.empty()) return escape(frame.function);
  return frame.function.empty() ? at : escape(frame.function) + " at " + at;
}

// The frame to look at first: the newest of the application's own.
const Frame* telling(const std::vector<Frame>& stack) {
  const auto own = std::ranges::find_if(stack, &Frame::in_app);
  if (own != stack.end()) return &*own;
  return stack.empty() ? nullptr : &stack.front();
}

std::string where(const std::vector<Frame>& stack) {
  const Frame* frame = telling(stack);
  return frame ? place(*frame) : "";
}

std::string request_text(const Request& request) {
  return escape(request.label) + " (" + humane_duration(request.age_ms) + " old)";
}

// "parse_header (app.cc:42)"
std::string brief_place(const Frame& frame) {
  if (frame.function.empty() || frame.file.empty()) return place(frame);
  return escape(frame.function) + " (" + escape(frame.file) +
         (frame.line ? ":" + std::to_string(frame.line) : "") + ")";
}

bool has_address(std::int64_t signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL;
}

// "SIGSEGV at 0x0 in parse_header (app.cc:42), while serving GET /x"
std::string crash_text(const Failure& failure) {
  const Fault& fault = *failure.fault;
  std::string out = signal_name(fault.signal);
  if (fault.sender != 0 && static_cast<std::uint64_t>(fault.sender) == failure.pid)
    out += " raised by the process itself";
  else if (fault.sender != 0)
    out += " sent by process " + std::to_string(fault.sender);
  else if (has_address(fault.signal) && !fault.address.empty())
    out += " at " + escape(fault.address);
  if (const Frame* frame = telling(failure.stack)) out += " in " + brief_place(*frame);
  if (failure.request) out += ", while serving " + escape(failure.request->label);
  return out;
}

std::string head(const Failure& failure, const View& view) {
  std::string error = escape(failure.type);
  if (!failure.message.empty()) error += (error.empty() ? "" : ": ") + escape(failure.message);
  if (failure.fault) error = crash_text(failure);
  if (error.empty()) error = escape(failure.kind);
  std::string out = escape(failure.service) + "/" + std::to_string(failure.slot) + " worker " +
                    std::to_string(failure.worker) + ": " + paint(error, Color::red, view) + "\n";
  for (const auto& cause : failure.causes)
    out += "  caused by " + escape(cause.type) + ": " + escape(cause.message) + "\n";
  return out;
}

// Those active where it happened, innermost first, and the one that captured it.
std::string domain_text(const Failure& failure) {
  std::string out;
  for (const auto& domain : failure.domains) out += (out.empty() ? "" : " in ") + escape(domain);
  if (failure.domain.empty() || (!failure.domains.empty() && failure.domains.front() == failure.domain))
    return out;
  return out.empty() ? escape(failure.domain) : out + ", captured by " + escape(failure.domain);
}

// How it came to be known.
std::string kind_text(const Failure& failure) {
  std::string out = escape(failure.kind);
  if (failure.kind == "error" && !failure.thrown) out += ", reported, not thrown";
  if (failure.rethrown) out += ", rethrown: the first throw is not known";
  return out;
}

std::string count_text(const Failure& failure) {
  return std::to_string(failure.count) + " times: identical failures, recorded as one";
}

// Whether the request that failed is among those that were cut.
bool cut_itself(const Failure& failure) {
  return failure.request && std::ranges::any_of(failure.drain->cut, [&](const Request& cut) {
           return cut.label == failure.request->label && cut.age_ms >= failure.request->age_ms;
         });
}

// What became of the requests beside the one that failed; of a worker that does not link librefork nobody
// knows.
std::string others_text(const Failure& failure) {
  if (!failure.drain || (failure.drain->outcome.empty() && !failure.exit)) {
    if (failure.then == "serve") return "not disturbed: the worker was to serve on";
    return "not known yet: the worker has not ended";
  }
  const auto& drain = *failure.drain;
  if (!drain.counted) return "";
  const bool own = cut_itself(failure);
  const auto others = drain.cut.size() - (own ? 1 : 0);
  std::string out = others == 0 ? "none cut" : std::to_string(others) + " cut without an answer";
  if (drain.crossed != 0) out += ", " + std::to_string(drain.crossed) + " lost on a closing connection";
  return own ? out + "; this one got no answer either" : out;
}

std::string reason_text(const std::string& requested) {
  if (requested == "error") return "after this error";
  if (requested == "operator") return "as an operator asked";
  if (requested == "reload") return "for a reload";
  if (requested == "recycle") return "for a recycle";
  if (requested == "stop") return "for a stop of the service";
  return requested.empty() ? "" : "for " + escape(requested);
}

std::string drain_text(const Failure::Drain& drain) {
  if (drain.outcome.empty() && drain.requested.empty()) return "";
  const std::string reason = reason_text(drain.requested), took = humane_duration(drain.duration_ms);
  std::string out;
  if (drain.outcome == "clean")
    out = "clean, in " + took;
  else if (drain.outcome == "deadline")
    out = "not over by its deadline, after " + took;
  else if (drain.outcome == "died")
    out = "the worker died in it, after " + took;
  else
    out = drain.outcome.empty() ? "not over yet" : escape(drain.outcome);
  if (!reason.empty()) out += ", begun " + reason;
  return drain.completed == 0 ? out : out + ", " + count_of(drain.completed, "request") + " finished in it";
}

std::string exit_text(const Failure::Exit& exit, const std::optional<Failure::Drain>& drain) {
  if (exit.signal)
    return "killed by " + signal_name(*exit.signal) + (exit.core ? ", core dumped" : "") +
           (exit.core_file.empty() ? "" : ": " + escape(exit.core_file));
  if (!exit.code) return "";
  const std::string code = "code " + std::to_string(*exit.code);
  if (!drain || drain->outcome.empty()) return code;
  if (drain->outcome == "deadline") return code + " (at the drain's deadline)";
  if (drain->outcome != "clean") return code;
  return code + (drain->requested == "error" ? " (as asked, after an error)" : " (as asked)");
}

// Frames alike, as of a recursion, are one line with the newest one's number.
std::string frame_lines(const std::vector<Frame>& stack, const std::string& indent, const View& view) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < stack.size(); i = next) {
    const std::string where = place(stack[i]);
    next = i + 1;
    while (next < stack.size() && place(stack[next]) == where) ++next;
    out += indent + "#" + std::to_string(i) + (i < 10 ? "  " : " ") +
           paint(where, stack[i].in_app ? Color::bold : Color::none, view) +
           (next - i > 1 ? ", " + std::to_string(next - i) + " times" : "") + "\n";
  }
  return out;
}

std::string stack_lines(const Failure& failure, const View& view) {
  if (failure.stack.empty()) return "";
  return field("stack", failure.rethrown ? "of the rethrow, newest first" : "newest first", view) +
         frame_lines(failure.stack, "  ", view);
}

// Those with a request first, as they come.
std::string thread_lines(const Failure& failure, const View& view) {
  if (failure.threads.empty()) return "";
  std::string out = field("threads", count_of(failure.threads.size(), "thread"), view);
  for (const auto& thread : failure.threads) {
    out += "  " + std::to_string(thread.tid) + (thread.name.empty() ? "" : " " + escape(thread.name)) +
           (thread.request.empty() ? "" : ", serving " + escape(thread.request)) + "\n" +
           frame_lines(thread.stack, "    ", view);
  }
  return out;
}

std::string output_lines(const Failure& failure, const View& view) {
  if (failure.output_tail.empty()) return "";
  std::string out = field("output", "the last lines", view);
  std::string_view rest = failure.output_tail;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    out += "  " + escape(rest.substr(0, end)) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

std::string cut_lines(const Failure& failure) {
  std::string out;
  for (const auto& cut : failure.drain->cut) {
    const Frame* frame = telling(cut.stack);
    out += "  cut " + request_text(cut) + (frame ? ", in " + brief_place(*frame) : "") + "\n";
  }
  return out;
}

}  // namespace

std::string render_place(const Frame& frame) { return place(frame); }

std::string render_failure(const Failure& failure, const View& view) {
  std::string out = head(failure, view);
  out += field("where", where(failure.stack), view);
  if (failure.unnamed)
    out += field("names", "not known: refork-symbolizer gave none; the log of reforkd says why", view);
  if (failure.request) out += field("request", request_text(*failure.request), view);
  out += field("others", others_text(failure), view);
  if (failure.drain) out += cut_lines(failure);
  out += "\n" + field("id", escape(failure.id), view);
  out += field("time", humane_time(failure.time_ms), view);
  out += field("kind", kind_text(failure), view);
  if (failure.count > 1) out += field("happened", count_text(failure), view);
  out += field("domain", domain_text(failure), view);
  out += field("callback", escape(failure.bound), view);
  out += field("emitter", escape(failure.emitter), view);
  for (const auto& [key, value] : failure.context)
    out += field("context", escape(key) + " = " + escape(value), view);
  if (failure.in_flight)
    out += field("in flight", count_of(*failure.in_flight, "request") + " when it happened", view);
  if (failure.drain) out += field("drain", drain_text(*failure.drain), view);
  if (failure.exit) out += field("exit", exit_text(*failure.exit, failure.drain), view);
  if (failure.pid != 0) out += field("pid", std::to_string(failure.pid), view);
  out += field("fingerprint", escape(failure.fingerprint), view);
  out += stack_lines(failure, view);
  out += thread_lines(failure, view);
  out += output_lines(failure, view);
  return out;
}

}  // namespace refork::ctl
