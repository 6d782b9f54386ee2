// A service's workers: what happens to them, and what is done about it. Every input ends in settle(), which
// brings slots, waiting drains, a reload and jobs to where they belong; so no input needs to know what
// another one waits for.
#include "core/service.h"

#include <algorithm>
#include <csignal>

#include "core/sentences.h"

namespace refork::core {

Service::Service(ServiceConfig config, NextId next_id, Random random)
    : config_(std::move(config)),
      next_id_(std::move(next_id)),
      random_(std::move(random)),
      budget_(config_.restart.budget ? config_.restart.budget : drains_a_worker * config_.workers,
              config_.restart.budget_window),
      slots_(config_.workers),
      dumps_allowed_(config_.core_dumps > 0) {}

Worker* Service::find(WorkerId worker) {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? nullptr : &it->second;
}

// ---- inputs

void Service::on_ready(WorkerId worker, Time now, Effects& out) {
  happen(worker, WorkerEvent::ready, {}, now, out);
}

void Service::on_failure(WorkerId worker, const std::string& failure, Then then, Time now, Effects& out) {
  if (then == Then::serve) return;  // its author vouches for the worker; the record is all there is to it
  happen(worker, WorkerEvent::failure, {.text = failure}, now, out);
}

void Service::on_terminate_recorded(WorkerId worker) {
  if (Worker* w = find(worker)) w->terminated = true;
}

void Service::on_drain_begun(WorkerId worker, DrainReason reason, Time now, Effects& out) {
  happen(worker, WorkerEvent::drain_begun, {.reason = reason}, now, out);
}

void Service::on_disconnect(WorkerId worker, bool deadline, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return;
  w->announced_end = true;
  if (deadline && w->drain_began) w->hit_deadline = true;
  happen(worker, WorkerEvent::disconnect, {}, now, out);
}

void Service::on_channel_closed(WorkerId worker, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return;
  if (!w->announced_end && !leaving(w->state))
    w->channel_lost = now;  // mostly its exit follows within microseconds
  settle(now, out);
}

void Service::on_violation(WorkerId worker, const std::string& what, Time now, Effects& out) {
  happen(worker, WorkerEvent::protocol_broken, {.text = what}, now, out);
}

void Service::on_gone(WorkerId worker, Time now, Effects& out) {
  happen(worker, WorkerEvent::gone, {}, now, out);
}

void Service::on_exit(WorkerId worker, const Exit& exit, Time now, Effects& out) {
  happen(worker, WorkerEvent::exited, {.exit = &exit}, now, out);
}

void Service::tick(Time now, Effects& out) {
  std::vector<WorkerId> late, lost;
  for (auto& [id, worker] : workers_) {
    const auto at = due(worker);
    const bool is_late = at && now >= *at;
    if (is_late && worker.crashed_at && !worker.kill_sent) {
      worker.deadline = now + dump_look_again;
      out.push_back(LookForDump{id});
    } else if (is_late) {
      late.push_back(id);
    } else if (worker.channel_lost && now >= *worker.channel_lost + channel_grace) {
      lost.push_back(id);
    }
  }
  for (const auto id : late) happen(id, WorkerEvent::time_up, {}, now, out);
  for (const auto id : lost)
    happen(id, WorkerEvent::protocol_broken, {.text = "it closed its channel and lived on"}, now, out);
  settle(now, out);
}

// ---- the acts

void Service::happen(WorkerId worker, WorkerEvent event, const Detail& detail, Time now, Effects& out) {
  Worker* w = find(worker);
  if (!w) return;
  const Step to = step(w->state, event);
  w->state = to.next;
  if (leaving(w->state)) w->channel_lost.reset();
  if (to.act == Act::end)
    end(*w, *detail.exit, now, out);
  else
    perform(to.act, *w, detail, now, out);
  settle(now, out);
}

void Service::perform(Act act, Worker& worker, const Detail& detail, Time now, Effects& out) {
  switch (act) {
    case Act::none:
    case Act::end:
      return;
    case Act::become_ready:
      return become_ready(worker, now, out);
    case Act::judge:
      return judge(worker, detail.text, now, out);
    case Act::repeat_verdict:
      worker.tainted = true;
      out.push_back(GiveVerdict{
          worker.id, detail.text, proto::Verdict::drain,
          std::chrono::duration_cast<Millis>(std::max(*worker.deadline - now, Clock::duration::zero()))});
      return;
    case Act::leave_unready:
      return leave_unready(worker, now, out);
    case Act::follow_drain:
      return enter_draining(worker, detail.reason, now, out);
    case Act::order_drain:
      enter_draining(worker, detail.reason, now, out);
      return tell_to_drain(worker, now, out);
    case Act::order_stop:
      enter_draining(worker, detail.reason, now, out);
      out.push_back(Terminate{worker.id});
      return;
    case Act::expel:
      return expel(worker, detail.text, now, out);
    case Act::kill:
      return kill_now(worker, now, out);
    case Act::lose:
      return lose(worker, now, out);
    case Act::follow_fault:
      return follow_fault(worker, now, out);
    case Act::vacate:
      return vacate(worker, now, out);
  }
}

void Service::become_ready(Worker& worker, Time now, Effects& out) {
  worker.ready_at = now;
  worker.deadline.reset();
  worker.why.clear();
  announce(worker, "worker-ready", "ready after " + say_duration(now - worker.since), out);
}

void Service::judge(Worker& worker, const std::string& failure, Time now, Effects& out) {
  worker.tainted = true;
  if (!worker.wanted_gone) worker.wanted_gone = DrainReason::error;
  if (reload_ && reload_->candidate == worker.id)
    reload_candidate_failed("it failed in its probation (failure " + failure + ")", out);
  if (!may_drain(worker, now, out)) {
    out.push_back(GiveVerdict{worker.id, failure, proto::Verdict::serve, Millis(0)});
    announce(worker, "worker-tainted", "serves on, tainted: " + worker.why, out);
    return;
  }
  worker.state = step(worker.state, WorkerEvent::drain_ordered).next;
  enter_draining(worker, worker.wanted_gone, now, out);
  out.push_back(GiveVerdict{worker.id, failure, proto::Verdict::drain, config_.drain_deadline});
}

void Service::enter_draining(Worker& worker, std::optional<DrainReason> reason, Time now, Effects& out) {
  if (worker.drain_began) return;
  worker.drain_began = now;
  worker.deadline = now + drain_time(worker);
  worker.requested = reason;
  worker.why = reason ? "drains: " + std::string(base::to_name(*reason)) : "leaves by itself";
  // Its place goes back to the old worker, not to a third one beside it.
  if (reload_ && reload_->candidate == worker.id)
    reload_candidate_failed("it was drained in its probation", out);
  leave_slot(worker, now);
  fill_slots(now, out);  // the replacement before all else
  announce(worker, "worker-draining", worker.why, out);
}

// Its slot stays its own until it is gone: then it backs off, as any other failed start.
void Service::leave_unready(Worker& worker, Time now, Effects& out) {
  worker.failed_boot = true;
  worker.deadline = now + config_.drain_deadline;
  worker.why = "it left before it was ready";
  announce(worker, "worker-draining", worker.why, out);
}

void Service::tell_to_drain(Worker& worker, Time now, Effects& out) {
  if (!linked(worker) || worker.expelled) {
    out.push_back(Terminate{worker.id});
    return;
  }
  const auto left = std::chrono::duration_cast<Millis>(*worker.deadline - now);
  out.push_back(OrderDrain{worker.id, worker.requested.value_or(DrainReason::operator_), left});
}

void Service::expel(Worker& worker, const std::string& why, Time now, Effects& out) {
  if (worker.expelled) return;
  worker.expelled = true;
  worker.tainted = true;
  announce(worker, "protocol", why, out);
  out.push_back(CloseChannel{worker.id});
  if (worker.state == WorkerState::killing) {  // never ready: its end makes the failure
    worker.failed_boot = true;
    worker.why = why;
    worker.deadline = now + kill_again;
    worker.kill_sent = true;
    out.push_back(Kill{worker.id});
    return;
  }
  out.push_back(Report{worker.id, Kind::protocol, why});
  out.push_back(Terminate{worker.id});
  enter_draining(worker, DrainReason::error, now, out);
}

// What is missing most often.
std::string Service::unready_hint() const {
  if (config_.ready != ReadyBy::library) return "it has not said READY=1 to its NOTIFY_SOCKET";
  return R"(it has not called ready() of librefork; a program that does not link that needs "ready": "exec" or )"
         R"("notify")";
}

void Service::kill_now(Worker& worker, Time now, Effects& out) {
  const std::string told = worker.kill_sent ? worker.why : "";
  if (worker.killed_by_order) {
    worker.why = "killed by an operator";
  } else if (worker.crashed_at) {
    if (!worker.kill_sent) worker.why = "it crashed, and did not end";
  } else if (worker.drain_began) {
    worker.hit_deadline = true;
    worker.why = "its drain took longer than " + say_duration(drain_time(worker));
  } else if (!worker.failed_boot) {
    worker.failed_boot = true;
    worker.why = "not ready within " + say_duration(config_.start_timeout) + ": " + unready_hint();
  }
  worker.deadline = now + kill_again;
  worker.kill_sent = true;
  if (worker.why != told) announce(worker, "worker-killed", worker.why, out);
  out.push_back(Kill{worker.id});
}

void Service::end(Worker& worker, const Exit& exit, Time now, Effects& out) {
  const EndOfLife how =
      classify({worker, exit, worker.gone_at.value_or(now), linked(worker), worker.ready == ReadyBy::exec});
  if (how.report) out.push_back(Report{worker.id, *how.report, how.sentence});
  announce(worker, "worker-ended", how.sentence, out);
  Ended ended = how.ended;
  if (exit.core) note_dump(now, out);

  const WorkerId id = worker.id;
  const bool booted = how.ended.cause != "boot";
  if (reload_ && reload_->candidate == id)
    reload_candidate_failed(how.sentence, out);
  else if (!booted)
    note_boot_failure(worker, how.sentence, now, out);
  leave_slot(worker, now);
  workers_.erase(id);
  out.push_back(std::move(ended));
}

// ---- time

// A loop that hangs does not drain; what the other threads have gets as long again.
Millis Service::drain_time(const Worker& worker) const {
  if (!worker.hung) return config_.drain_deadline;
  return std::min(config_.drain_deadline, config_.watchdog.value_or(config_.drain_deadline));
}

std::optional<Time> Service::due(const Worker& worker) const {
  if (!worker.deadline || worker.gone_at) return std::nullopt;
  // A linked worker leaves at its deadline by itself, and says whom it cut.
  const bool leaves_itself = worker.state == WorkerState::draining && linked(worker) && !worker.expelled;
  return *worker.deadline + (leaves_itself ? kill_grace : Millis(0));
}

std::optional<Time> Service::next() const {
  std::optional<Time> first;
  const auto consider = [&](std::optional<Time> at) {
    if (at && (!first || *at < *first)) first = at;
  };
  for (const auto& [id, worker] : workers_) {
    consider(due(worker));
    if (worker.channel_lost) consider(*worker.channel_lost + channel_grace);
  }
  for (const auto& slot : slots_)
    if (wanted_ && slot.current == 0 && !slot.given_up) consider(slot.next_start);
  if (reload_ && probed()) consider(reload_->probation_ends);
  if (stormy_) consider(next_token_);
  if (!dumps_allowed_ && !dumps_.empty()) consider(dumps_.front() + dumps_window);
  if (wanted_ && !recycling_waits())
    for (const auto& [id, worker] : workers_) consider(recycle_age_reached(worker));
  return first;
}

void Service::settle(Time now, Effects& out) {
  rotate_waiting(now, out);
  settle_reload(now, out);
  fill_slots(now, out);
  settle_recycling(now, out);
  settle_dumps(now, out);
  settle_jobs(out);
}

void Service::announce(const Worker& worker, EventType type, std::string text, Effects& out) const {
  out.push_back(Announce{worker.id, worker.slot, type, std::move(text)});
}

}  // namespace refork::core
