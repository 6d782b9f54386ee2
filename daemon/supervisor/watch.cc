// Regular looks at what workers say of themselves in their flight recorders. What follows from it is core's
// to decide; here it is found out and recorded.
#include "supervisor/watch.h"

#include <algorithm>

#include "core/sentences.h"
#include "os/process.h"
#include "os/task.h"

namespace refork::supervisor {

namespace {

constexpr int looks_an_interval = 4;
constexpr core::Millis clock_step{10};       // of the clock that tells a request's age
constexpr core::Millis stacks_interval{20};  // while stacks are awaited

core::Millis millis(std::uint64_t ms) { return core::Millis(static_cast<std::int64_t>(ms)); }

// The one that the thread says it handles. A loop has many in flight, all of its thread: where it says
// nothing, the only one it has, and none of several.
std::optional<proto::RequestRef> request_of(const std::vector<recorder::InFlight>& requests,
                                            std::uint32_t thread, std::uint64_t told) {
  auto found = std::ranges::find(requests, told, &recorder::InFlight::id);
  if (told == 0 && std::ranges::count(requests, thread, &recorder::InFlight::thread) == 1)
    found = std::ranges::find(requests, thread, &recorder::InFlight::thread);
  if (found == requests.end()) return std::nullopt;
  return proto::RequestRef{found->label, found->age_ms};
}

std::vector<recorder::InFlight> in_flight(const recorder::Reader* reader) {
  if (!reader) return {};
  auto requests = reader->in_flight();
  return requests ? *std::move(requests) : std::vector<recorder::InFlight>();
}

std::vector<proto::Frame> stack_of(const std::vector<proto::ThreadStack>& threads, std::uint32_t tid) {
  const auto found = std::ranges::find(threads, tid, &proto::ThreadStack::tid);
  return found == threads.end() ? std::vector<proto::Frame>() : found->stack;
}

bool counts_usage(const core::ServiceConfig& config) {
  return config.recycle.requests.has_value() || config.recycle.memory.has_value();
}

}  // namespace

Watch::Watch(Loop& loop, Ward& ward, const core::ServiceConfig& config)
    : ward_(ward), config_(config), interval_(interval()), timer_(loop.timer([this] { look(); })) {
  if (interval_) Loop::arm(timer_, core::Clock::now() + *interval_);
}

std::optional<core::Millis> Watch::interval() const {
  std::optional<core::Millis> shortest;
  const auto consider = [&shortest](core::Millis time) {
    time = std::clamp(time, shortest_interval, longest_interval);
    shortest = std::min(shortest.value_or(time), time);
  };
  if (config_.watchdog) consider(*config_.watchdog / looks_an_interval);
  if (config_.request_timeout) consider(*config_.request_timeout);
  if (counts_usage(config_)) consider(longest_interval);
  return shortest;
}

void Watch::look_after_requests() {
  if (own_timeouts_) return;
  own_timeouts_ = true;
  interval_ = std::min(interval_.value_or(longest_interval), own_timeouts_interval);
  closely_due_ = std::min(closely_due_, core::Clock::now() + *interval_);
  Loop::arm(timer_, core::Clock::now() + *interval_);
}

// A request that is not there yet can be late after a whole timeout only; of each that is there it is known
// when. So they need not be looked at often to be found late in time.
core::Millis Watch::until_next_look(const std::vector<recorder::InFlight>& requests,
                                    std::optional<core::Millis> timeout) {
  core::Millis next = std::min(timeout.value_or(longest_interval), longest_interval);
  for (const auto& request : requests) {
    const auto own = request.timeout_ms == 0 ? timeout : millis(request.timeout_ms);
    if (own && millis(request.age_ms) < *own)
      next = std::min(next, *own - millis(request.age_ms) + clock_step);
  }
  return std::max(next, shortest_interval);
}

void Watch::beat(core::WorkerId worker) {
  if (!config_.watchdog) return;
  charts_.try_emplace(worker, *config_.watchdog).first->second.beat = core::Clock::now();
}

// A request table is much to read: where loops are looked at often, requests need not be.
void Watch::look() {
  const auto now = core::Clock::now();
  const bool closely = now >= closely_due_;
  if (closely)
    closely_due_ =
        now + (own_timeouts_ ? own_timeouts_interval : until_next_look({}, config_.request_timeout));
  std::vector<core::WorkerId> all;
  for (const auto& [id, worker] : ward_.service().workers()) all.push_back(id);
  std::erase_if(charts_, [&](const auto& chart) { return !std::ranges::binary_search(all, chart.first); });
  for (const auto id : all) look_at(id, now, closely);
  const bool awaited =
      std::ranges::any_of(charts_, [](const auto& chart) { return chart.second.demand.has_value(); });
  const auto next = now + (awaited ? std::min(stacks_interval, *interval_) : *interval_);
  Loop::arm(timer_, std::max(std::min(next, closely_due_), core::Clock::now()));
}

void Watch::look_at(core::WorkerId worker, core::Time now, bool closely) {
  const auto patient = ward_.patient(worker);
  if (!patient || !patient->worker->ready_at || patient->worker->state == core::WorkerState::killing) return;
  Chart& chart = charts_.try_emplace(worker, config_.watchdog.value_or(longest_interval)).first->second;
  if (chart.demand) {
    if (chart.demand->over(now)) finish(worker, chart);
    return;
  }
  if (config_.watchdog && core::accepts(patient->worker->state)) check_loops(*patient, chart, now);
  if (closely && !chart.demand && has_timeouts(*patient)) check_requests(*patient, chart, now);
  if (closely && counts_usage(config_)) check_usage(*patient);
}

bool Watch::has_timeouts(const Patient& patient) const {
  return config_.request_timeout || (patient.reader && patient.reader->has_timeouts());
}

// ---- loops

std::vector<core::Pulse> Watch::pulses(const Patient& patient, const Chart& chart, core::Time now) const {
  std::vector<core::Pulse> all;
  const pid_t pid = patient.subject->pid;
  if (patient.reader)
    for (const auto& beat : patient.reader->beats())
      all.push_back({beat.thread, millis(beat.age_ms), os::read_task(pid, static_cast<pid_t>(beat.thread))});
  else if (chart.beat)
    all.push_back({static_cast<std::uint32_t>(pid),
                   std::chrono::duration_cast<core::Millis>(now - *chart.beat), os::read_task(pid, pid)});
  return all;
}

void Watch::check_loops(const Patient& patient, Chart& chart, core::Time now) {
  using State = core::HealthVerdict::State;
  const auto verdict = chart.health.look(pulses(patient, chart, now), now);
  if (verdict.state == State::starved && !chart.starved)
    ward_.announce(*patient.worker, "worker-starved", core::say_starvation(verdict));
  chart.starved = verdict.state == State::starved;
  if (verdict.state != State::hung || chart.hung) return;
  chart.hung = true;
  chart.verdict = verdict;
  chart.demand.emplace(patient.reader, patient.subject->pid, 0, now);
}

void Watch::tell_hang(const Patient& patient, Chart& chart) {
  const auto verdict = *std::exchange(chart.verdict, std::nullopt);
  const std::string what = core::say_hang(verdict, *config_.watchdog);
  const auto requests = in_flight(patient.reader);
  proto::FailureRecord record;
  record.kind = Kind::hang;
  record.message = what;
  record.threads = chart.demand->result(record.build_ids);
  record.stack = stack_of(record.threads, verdict.thread);
  record.request = request_of(requests, verdict.thread, chart.demand->request_of(verdict.thread));
  if (patient.reader) record.in_flight_at_failure = requests.size();
  ward_.report(*patient.subject, std::move(record), patient.reader && patient.reader->shows_query());
  const auto id = patient.worker->id;
  ward_.feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_hung(id, what, now, out); });
}

// ---- requests

void Watch::check_requests(const Patient& patient, Chart& chart, core::Time now) {
  const auto requests = in_flight(patient.reader);
  closely_due_ = std::min(closely_due_, now + until_next_look(requests, config_.request_timeout));
  std::set<std::uint64_t> still;
  for (const auto& request : requests) {
    const auto own = request.timeout_ms == 0 ? config_.request_timeout : millis(request.timeout_ms);
    if (!own || millis(request.age_ms) < *own) continue;
    still.insert(request.id);
    if (chart.late.contains(request.id) || chart.timeouts >= max_timeouts) continue;
    ++chart.timeouts;
    chart.requests.push_back({{request.label, request.age_ms}, *own, requests.size(), request.thread});
  }
  chart.late = std::move(still);
  if (chart.requests.empty()) return;
  const pid_t thread = chart.requests.size() == 1 ? static_cast<pid_t>(chart.requests[0].thread) : 0;
  chart.demand.emplace(patient.reader, patient.subject->pid, thread, now);
}

void Watch::tell_timeouts(const Patient& patient, Chart& chart) {
  BuildIds build_ids;
  const auto threads = chart.demand->result(build_ids);
  const auto id = patient.worker->id;
  const bool shows_query = patient.reader && patient.reader->shows_query();
  for (auto& late : std::exchange(chart.requests, {})) {
    const std::string what = "a request takes longer than " + core::say_duration(late.timeout);
    proto::FailureRecord record;
    record.kind = Kind::timeout;
    record.message = what;
    record.request = std::move(late.request);
    record.stack = stack_of(threads, late.thread);
    record.build_ids = build_ids;
    record.in_flight_at_failure = late.in_flight;
    ward_.report(*patient.subject, std::move(record), shows_query);
    ward_.feed([&](core::Service& s, core::Time now, core::Effects& out) {
      s.on_request_timeout(id, what, now, out);
    });
  }
}

void Watch::finish(core::WorkerId worker, Chart& chart) {
  const auto patient = ward_.patient(worker);
  if (!patient) return;
  if (chart.verdict)
    tell_hang(*patient, chart);
  else
    tell_timeouts(*patient, chart);
  chart.demand.reset();
  closely_due_ = core::Clock::now();  // its requests were not looked at meanwhile
}

// ---- usage

void Watch::check_usage(const Patient& patient) {
  core::Usage usage;
  if (config_.recycle.requests && patient.reader)
    if (const auto counters = patient.reader->counters()) usage.served = counters->served;
  if (config_.recycle.memory) usage.memory = os::rss_bytes(patient.subject->pid);
  const auto id = patient.worker->id;
  ward_.feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_usage(id, usage, now, out); });
}

}  // namespace refork::supervisor
