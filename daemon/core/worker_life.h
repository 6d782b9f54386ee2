#pragma once

#include <array>

#include "base/enum_names.h"
#include "proto/messages.h"

// The life of one worker as a total table: where it is, and what happens, give where it goes and what is to
// be done.
namespace refork::core {

using proto::WorkerState;

enum class WorkerEvent {
  ready,            // it serves: its own word, READY=1, or that exec succeeded
  failure,          // it reports a failure and waits for a verdict
  drain_begun,      // it drains by itself
  disconnect,       // its last word: it ends now
  drain_ordered,    // somebody here wants it gone, in good order
  kill_ordered,     // ... at once
  protocol_broken,  // it said something illegal, or closed its channel and lived on
  time_up,          // of the state it is in: start timeout or drain deadline
  faulted,          // a fatal signal: it dies, perhaps after a core dump
  fault_contained,  // a fatal signal: one thread stands, the others finish, then it dies
  gone,             // its process has ended, how is not known yet
  exited,
};

enum class Act {
  none,
  become_ready,    // counts as accepting from now on
  judge,           // give a verdict: drain it now, or let it serve, tainted
  repeat_verdict,  // it drains already: say so again
  leave_unready,   // it leaves before it was ever ready: a failed start, once it is gone
  follow_drain,    // it drains by itself: start its deadline, replace it
  order_drain,     // tell it to drain, start its deadline, replace it
  order_stop,      // not ready yet: a signal, and its deadline
  expel,           // close its channel, drain it by signal; a failed start, if it was not ready yet
  kill,            // SIGKILL to its group
  lose,            // it is as good as gone: replace it, and leave it alone as long as it dumps core
  follow_fault,    // it drains by itself, by its deadline, budget or no: replace it
  vacate,          // nothing can be done to it any more: replace it
  end,             // it is gone: one end row, a failure if it is one, a replacement if there is none yet
};

struct Step {
  // No default: a forgotten cell of the table does not compile.
  constexpr Step(WorkerState to, Act what) : next(to), act(what) {}
  WorkerState next;
  Act act;
};

const Step& step(WorkerState state, WorkerEvent event);

// A worker that takes new connections in this state.
constexpr bool accepts(WorkerState state) { return state == WorkerState::serving; }
// A worker on its way out.
constexpr bool leaving(WorkerState state) {
  return state == WorkerState::draining || state == WorkerState::killing;
}

}  // namespace refork::core

namespace refork::base {
template <>
struct EnumNames<core::WorkerEvent> {
  static constexpr std::array<std::string_view, 12> names = {
      "ready",           "failure", "drain_begun", "disconnect",      "drain_ordered", "kill_ordered",
      "protocol_broken", "time_up", "faulted",     "fault_contained", "gone",          "exited"};
};
static_assert(index(core::WorkerEvent::exited) + 1 == enum_count<core::WorkerEvent>);
}  // namespace refork::base
