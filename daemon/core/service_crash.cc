// Workers that die by a fatal signal, loops that hang, requests that take too long, and how many core dumps a
// service may leave. What a signal was, and where, is told by the record; here it is only a worker that goes.
#include <algorithm>

#include "core/sentences.h"
#include "core/service.h"

namespace refork::core {

void Service::on_crash(WorkerId worker, bool contained, Time now, Effects& out) {
  happen(worker, contained ? WorkerEvent::fault_contained : WorkerEvent::faulted, {.text = "it crashed"}, now,
         out);
}

void Service::on_crash_recorded(WorkerId worker) {
  if (Worker* w = find(worker)) w->crash_recorded = true;
}

// The process may take minutes to write its core. Before it was ready, its slot stays its own until it is
// gone, and then backs off like any other failed start.
void Service::lose(Worker& worker, Time now, Effects& out) {
  worker.crashed_at = now;
  worker.deadline = now + crash_grace;
  worker.why = "crashed";
  if (worker.ready_at) {
    if (reload_ && reload_->candidate == worker.id)
      reload_candidate_failed("it crashed in its probation", out);
    leave_slot(worker, now);
    fill_slots(now, out);  // the replacement before all else
  }
  announce(worker, "worker-crashed", worker.ready_at ? "crashed" : "crashed before it was ready", out);
}

// A failed start keeps its slot until its end, and then backs off.
void Service::vacate(Worker& worker, Time now, Effects& out) {
  if (worker.gone_at) return;
  worker.gone_at = now;
  const bool booted = core::booted({worker, Exit{}, now, linked(worker), worker.ready == ReadyBy::exec});
  const bool holds_slot = worker.slot < slots_.size() && slots_[worker.slot].current == worker.id;
  if (!booted || !holds_slot) return;
  worker.why = "has ended, how is not known yet";
  if (reload_ && reload_->candidate == worker.id) reload_candidate_failed("it ended in its probation", out);
  leave_slot(worker, now);
  fill_slots(now, out);  // the replacement before all else
  announce(worker, "worker-gone", worker.why, out);
}

void Service::follow_fault(Worker& worker, Time now, Effects& out) {
  worker.tainted = true;
  worker.contained = true;
  if (!worker.drain_began && !worker.paid) worker.paid = budget_.take(now);
  enter_draining(worker, DrainReason::error, now, out);
  announce(worker, "worker-crashed", "crashed; its other threads finish", out);
}

void Service::on_dump_seen(WorkerId worker, bool dumping, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w || !w->crashed_at || w->kill_sent) return;
  if (dumping && now - *w->crashed_at < dump_bound) {
    w->why = "crashed, dumps core";
    w->deadline = now + dump_look_again;
    return;
  }
  happen(worker, WorkerEvent::time_up, {}, now, out);
}

// Neither budget nor floor has a say: it serves nobody where it hangs.
void Service::on_hung(WorkerId worker, const std::string& why, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w || !accepts(w->state)) return;
  w->hung = true;
  w->tainted = true;
  announce(*w, "worker-hung", why, out);
  happen(worker, WorkerEvent::drain_ordered, {.reason = DrainReason::error}, now, out);
}

void Service::on_request_timeout(WorkerId worker, const std::string& what, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return;
  w->tainted = true;
  announce(*w, "request-timeout", what, out);
  if (!leaving(w->state) && w->ready_at) {
    if (reload_ && reload_->candidate == worker)
      reload_candidate_failed("a request timed out in its probation", out);
    want_gone(*w, DrainReason::error, now, out);
  }
  settle(now, out);
}

// ---- core dumps

void Service::note_dump(Time now, Effects& out) {
  dumps_.push_back(now);
  settle_dumps(now, out);
}

void Service::settle_dumps(Time now, Effects& out) {
  std::erase_if(dumps_, [now](Time at) { return now - at >= dumps_window; });
  const bool allowed = dumps_.size() < config_.core_dumps;
  if (allowed == dumps_allowed_) return;
  dumps_allowed_ = allowed;
  out.push_back(AllowDumps{allowed});
  const std::string text = allowed ? "workers that crash dump core again"
                                   : std::to_string(dumps_.size()) +
                                         " core dumps in the last hour: workers that crash dump none for now";
  out.push_back(Announce{0, 0, "core-dumps", text});
}

}  // namespace refork::core
