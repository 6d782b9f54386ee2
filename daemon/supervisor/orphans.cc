// What an earlier reforkd left behind, found by the names of its recorder files. The process is known by its
// pid and its start time together, so that a reused pid is nobody's orphan.
#include "supervisor/orphans.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "log/log.h"
#include "os/process.h"

namespace refork::supervisor {

Orphans::Orphans(Loop& loop, Failures& failures, std::string recorder_directory)
    : loop_(loop), failures_(failures), directory_(std::move(recorder_directory)) {}

core::WorkerId Orphans::find(const core::DaemonConfig& config) {
  core::WorkerId highest = 0;
  if (directory_.empty()) return highest;
  for (const auto& file : recorder_files(directory_)) {
    const auto name = parse_recorder_name(file);
    if (name->worker == 0) {  // a spare one
      ::unlink((directory_ + "/" + file).c_str());
      continue;
    }
    highest = std::max(highest, name->worker);
    auto recorder = RecorderFile::open(directory_, file);
    if (!recorder) {
      log::warning("the flight recorder " + file + " cannot be read: " + recorder.error().what);
      continue;
    }
    const auto identity = (*recorder)->reader().identity();
    const Subject subject{name->service, name->slot, name->worker, name->pid,
                          identity ? identity->generation : 1};
    auto pidfd = os::open_pidfd(name->pid);
    if (name->pid <= 0 || !pidfd || os::start_time(name->pid) != name->start_time) {
      settle(subject, *recorder, false);
      continue;
    }
    core::Millis deadline{30000};
    for (const auto& service : config.services)
      if (service.name == name->service) deadline = service.drain_deadline;
    follow({subject, std::move(*recorder), std::move(*pidfd), nullptr, nullptr}, deadline);
  }
  return highest;
}

// With its group, whose number is safe as long as its leader was not reaped: the pidfd says so.
void Orphans::kill(Orphan& orphan) {
  if (os::start_time(orphan.subject.pid) != 0) os::signal_group(orphan.subject.pid, SIGKILL);
  os::signal_process(orphan.pidfd.get(), SIGKILL);
}

void Orphans::kill_all() {
  for (const auto& orphan : living_) kill(*orphan);
}

void Orphans::when_gone(std::function<void()> callback) {
  if (living_.empty()) return callback();
  when_gone_ = std::move(callback);
}

void Orphans::follow(Orphan orphan, core::Millis deadline) {
  auto kept = std::make_unique<Orphan>(std::move(orphan));
  Orphan* raw = kept.get();
  log::notice(raw->subject.service + " worker " + std::to_string(raw->subject.worker) + " (pid " +
              std::to_string(raw->subject.pid) + ") was left by an earlier reforkd: it drains");
  failures_.collect(raw->subject, raw->recorder);
  os::signal_process(raw->pidfd.get(), SIGTERM);
  raw->exit_source = loop_.watch(raw->pidfd.get(), EPOLLIN, [this, raw](std::uint32_t) { on_exit(*raw); });
  raw->deadline = loop_.timer([raw] { kill(*raw); });
  Loop::arm(raw->deadline, core::Clock::now() + deadline + core::kill_grace);
  living_.push_back(std::move(kept));
}

void Orphans::on_exit(Orphan& orphan) {
  os::reap(
      orphan.pidfd.get());  // a subreaper may have it as its child; otherwise nobody here learns how it ended
  settle(orphan.subject, orphan.recorder, true);
  Orphan* raw = &orphan;
  loop_.park(std::move(orphan.exit_source));
  loop_.later([this, raw] {
    std::erase_if(living_, [raw](const auto& one) { return one.get() == raw; });
    if (living_.empty() && when_gone_) std::exchange(when_gone_, nullptr)();
  });
}

void Orphans::settle(const Subject& subject, const std::shared_ptr<RecorderFile>& recorder, bool late) {
  failures_.collect(subject, recorder);
  core::Ended ended;
  ended.worker = subject.worker;
  ended.slot = subject.slot;
  ended.generation = subject.generation;
  ended.cause = "lost";
  const auto counters = recorder->reader().counters();
  if (late || (counters && counters->draining)) {
    const auto cut = recorder->reader().in_flight();
    ended.requested = "stop";
    ended.outcome = cut && cut->empty() ? "clean" : "died";
  }
  failures_.end(subject, ended, recorder, 0);
}

}  // namespace refork::supervisor
