// A loop that hangs told from one that gets no processor. A thread that spins gets its time and does not
// beat; one that starves waits in the scheduler's queue.
#include "core/health.h"

#include <algorithm>

#include "core/sentences.h"

namespace refork::core {
namespace {

Millis millis(std::uint64_t ns) { return Millis(static_cast<std::int64_t>(ns / 1'000'000)); }

bool ran_between(const Task& before, const Task& now) {
  return now.slices != before.slices || now.run_ns != before.run_ns;
}

// The kernel adds up a wait when it is over; one that still lasts shows in that the thread does not run.
Millis waited_for_processor(const Task& before, const Task& now, Clock::duration still, Millis passed) {
  const auto lasts = std::chrono::duration_cast<Millis>(now.state == 'R' ? still : Clock::duration::zero());
  return std::min(millis(now.delay_ns - std::min(now.delay_ns, before.delay_ns)) + lasts, passed);
}

bool worse(const HealthVerdict& a, const HealthVerdict& b) {
  return a.state != b.state ? a.state > b.state : a.silent > b.silent;
}

}  // namespace

HealthVerdict Health::judge(const Pulse& pulse, const Known& known, Time now) const {
  HealthVerdict verdict;
  verdict.thread = pulse.thread;
  const auto passed = std::chrono::duration_cast<Millis>(now - known.since);
  verdict.silent = pulse.silent;
  if (pulse.task) verdict.waited = waited_for_processor(known.task, *pulse.task, now - known.still, passed);
  // What a thread that was never seen to beat did before it was first looked at is nobody's business.
  const Millis silent = std::min(pulse.silent, passed + watchdog_ / 2);
  if (silent < watchdog_) return verdict;
  const Millis excused = verdict.waited + known.unseen;
  if (silent - excused >= watchdog_)
    verdict.state = HealthVerdict::State::hung;
  else if (verdict.waited >= silent / 2)
    verdict.state = HealthVerdict::State::starved;
  return verdict;
}

HealthVerdict Health::look(const std::vector<Pulse>& pulses, Time now) {
  const auto gap = last_look_ ? std::chrono::duration_cast<Millis>(now - *last_look_) : Millis(0);
  const Millis unseen = gap >= watchdog_ ? gap : Millis(0);
  std::map<std::uint32_t, Known> known;
  HealthVerdict worst;
  for (const auto& pulse : pulses) {
    const auto before = known_.find(pulse.thread);
    const bool beat = before == known_.end() || now - pulse.silent > before->second.since;
    Known& one = known[pulse.thread];
    const Task task = pulse.task.value_or(Task());
    one = beat ? Known{now, task, Millis(0), task, now} : before->second;
    if (!beat) one.unseen += unseen;
    if (ran_between(one.last, task)) {
      one.last = task;
      one.still = now;
    }
    if (const auto verdict = judge(pulse, one, now); worse(verdict, worst)) worst = verdict;
  }
  known_ = std::move(known);
  last_look_ = now;
  return worst;
}

std::string say_hang(const HealthVerdict& verdict, Millis watchdog) {
  return "its loop has not beaten for " + say_duration(verdict.silent) + " (watchdog " +
         say_duration(watchdog) + ")";
}

std::string say_starvation(const HealthVerdict& verdict) {
  return "its loop has not beaten for " + say_duration(verdict.silent) + ", but waited " +
         say_duration(verdict.waited) + " of it for a processor: left alone";
}

}  // namespace refork::core
