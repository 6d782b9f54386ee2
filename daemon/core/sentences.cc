// The one place that says what the end of a process means: which row it gets, whether it is a failure, and
// the sentence for people. Exit status is what the kernel said; all else is what reforkd had asked for
// before.
#include "core/sentences.h"

#include <csignal>
#include <cstring>

namespace refork::core {
namespace {

// The signal a drain by signal ends with, in a program that does not handle it.
bool ended_as_told(const EndFacts& facts) {
  const bool told_by_signal = !facts.linked || facts.worker.expelled || !facts.worker.ready_at;
  return told_by_signal && facts.exit.signal == SIGTERM;
}

// Its last failure is this end: a crash, or std::terminate, which the worker recorded before it aborted.
bool told_by_itself(const EndFacts& facts) {
  return facts.worker.crash_recorded || (facts.worker.terminated && facts.exit.signal == SIGABRT);
}

bool killed_from_here(const Worker& worker) { return worker.kill_sent || worker.killed_by_order; }

// The kernel's word for it, where there is one.
bool out_of_memory(const EndFacts& facts) {
  return facts.exit.oom && facts.exit.signal == SIGKILL && !killed_from_here(facts.worker);
}

std::string say_exit(const EndFacts& facts) {
  const Exit& exit = facts.exit;
  if (!exit.boot_error.empty()) return exit.boot_error;
  if (out_of_memory(facts)) return "killed by the kernel, which was out of memory,";
  if (exit.signal == SIGKILL && !killed_from_here(facts.worker))
    return "killed by SIGKILL, by whom is not known,";
  if (exit.signal) return "killed by " + say_signal(*exit.signal) + (exit.core ? " (core dumped)" : "");
  if (exit.code) return "exited with code " + std::to_string(*exit.code);
  return "ended, nobody knows how";
}

std::string say_cut(const EndFacts& facts) {
  if (facts.exit.cut == 0) return "";
  return ", with " + std::to_string(facts.exit.cut) + (facts.exit.cut == 1 ? " request" : " requests") +
         " under way";
}

// A crash that was contained: the other threads finished, and then it died of it.
bool finished_before_it_died(const EndFacts& facts) {
  return facts.worker.contained && facts.worker.announced_end;
}

// One failure an end: where its worker has recorded what it died of, that is it.
void settle_report(const EndFacts& facts, EndOfLife& how) {
  if (how.report && told_by_itself(facts))
    how.report.reset();
  else if (how.report && out_of_memory(facts))
    how.report = Kind::oom;
}

// Its own deadline may come a moment before the one here, and without a channel it cannot say so.
constexpr Millis deadline_slack{50};
bool left_at_deadline(const EndFacts& facts) {
  const Worker& worker = facts.worker;
  return facts.linked && worker.expelled && worker.deadline && facts.now + deadline_slack >= *worker.deadline;
}

void classify_drained(const EndFacts& facts, EndOfLife& how) {
  const Worker& worker = facts.worker;
  how.ended.drain_duration = std::chrono::duration_cast<Millis>(facts.now - *worker.drain_began);
  if (worker.hit_deadline || left_at_deadline(facts)) {
    how.ended.outcome = how.ended.cause = "deadline";
    how.sentence = "gone at its drain deadline";
    // After an error the records of that error say so.
    if (worker.requested != DrainReason::error) how.report = Kind::deadline;
  } else if (facts.exit.signal && !ended_as_told(facts) && !finished_before_it_died(facts)) {
    how.ended.outcome = "died";
    how.ended.cause = "signal";
    how.report = Kind::signal;
    how.sentence = say_exit(facts) + " while draining";
  } else if (facts.linked && !worker.expelled && worker.ready_at && !worker.announced_end &&
             facts.exit.code.value_or(0) != 0) {
    how.ended.outcome = "died";
    how.ended.cause = "exit";
    how.report = Kind::exit;
    how.sentence = say_exit(facts) + " while draining";
  } else if (facts.exit.cut > 0) {
    how.ended.outcome = "died";
    how.ended.cause = facts.exit.signal ? "signal" : "exit";
    // Of one that was expelled the record of that tells.
    if (!worker.expelled) how.report = Kind::exit;
    how.sentence = say_exit(facts) + " while draining" + say_cut(facts);
  } else {
    how.ended.outcome = "clean";
    how.ended.cause = "drained";
    how.sentence = "drained after " + say_duration(how.ended.drain_duration) + ", " + say_exit(facts);
  }
}

}  // namespace

std::string say_duration(Clock::duration duration) {
  const auto ms = std::chrono::duration_cast<Millis>(duration).count();
  if (ms < 1000) return std::to_string(ms) + " ms";
  if (ms < 60000) {
    const auto tenths = ms / 100 % 10;
    return std::to_string(ms / 1000) + (tenths ? "." + std::to_string(tenths) : "") + "s";
  }
  const auto seconds = ms / 1000 % 60;
  return std::to_string(ms / 60000) + "m" + (seconds ? std::to_string(seconds) + "s" : "");
}

std::string say_signal(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

bool booted(const EndFacts& facts) {
  const Worker& worker = facts.worker;
  if (!facts.exit.boot_error.empty() || worker.failed_boot) return false;
  if (worker.drain_began || worker.killed_by_order) return true;  // nobody waits for it to boot
  if (!worker.ready_at) return false;
  return !facts.by_exec || facts.now - worker.since >= exec_settled;
}

EndOfLife classify(const EndFacts& facts) {
  const Worker& worker = facts.worker;
  EndOfLife how;
  how.ended.worker = worker.id;
  how.ended.slot = worker.slot;
  how.ended.generation = worker.generation;
  how.ended.lived = std::chrono::duration_cast<Millis>(facts.now - worker.since);
  how.ended.code = facts.exit.code;
  how.ended.signal = facts.exit.signal;
  how.ended.core = facts.exit.core;
  how.ended.core_file = facts.exit.core_file;
  if (worker.requested) how.ended.requested = base::to_name(*worker.requested);

  if (worker.killed_by_order) {
    if (how.ended.requested.empty()) how.ended.requested = "operator";
    how.ended.cause = "killed";
    if (worker.drain_began) how.ended.outcome = "died";
    how.sentence = "killed by an operator" + say_cut(facts);
    if (facts.exit.cut > 0) how.report = Kind::signal;  // he wanted the worker gone, not these
  } else if (!booted(facts)) {
    how.ended.cause = "boot";
    how.report = worker.expelled ? Kind::protocol : Kind::boot;
    if (!facts.exit.boot_error.empty())
      how.sentence = facts.exit.boot_error;
    else if (!worker.failed_boot)
      how.sentence = say_exit(facts) + (worker.ready_at ? " at once" : " before it was ready");
    else
      how.sentence = worker.why + (facts.exit.code ? ", " + say_exit(facts) : "");
  } else if (worker.drain_began) {
    classify_drained(facts, how);
  } else {
    how.ended.cause = facts.exit.signal ? "signal" : "exit";
    how.report = facts.exit.signal ? Kind::signal : Kind::exit;
    // Exit 0 of a program that knows nothing of reforkd says that it wanted to.
    if (!facts.linked && facts.exit.code == 0) how.report.reset();
    how.sentence = say_exit(facts) + " while serving";
  }
  settle_report(facts, how);
  return how;
}

}  // namespace refork::core
