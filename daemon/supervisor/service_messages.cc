// What a service's workers say, over their channels or the socket for notifications, and what is said to
// them. Whether a message is legal is known by the link; what it means for the service, by core::Service.
#include <unistd.h>

#include "log/log.h"
#include "supervisor/overloaded.h"
#include "supervisor/service_runner.h"

namespace refork::supervisor {

namespace {

// Messages taken from one worker in one turn of the loop, so that a chatty one does not hold up the others.
constexpr std::size_t messages_a_turn = 64;

std::uint32_t millis_or_none(const std::optional<core::Millis>& time) {
  return static_cast<std::uint32_t>(time.value_or(core::Millis(0)).count());
}

}  // namespace

void ServiceRunner::on_link(core::WorkerId worker) {
  if (WorkerProcess* process = find(worker)) receive(*process, messages_a_turn);
}

void ServiceRunner::receive(WorkerProcess& process, std::size_t at_most) {
  using proto::Channel;
  const core::WorkerId id = process.subject.worker;
  for (std::size_t i = 0; i < at_most && process.link; ++i) {
    const auto known = service_.workers().find(id);
    if (known == service_.workers().end()) return;
    auto received = process.link->receive(known->second.state, core::Clock::now());
    if (std::holds_alternative<Channel::Empty>(received)) return;
    if (const auto* message = std::get_if<proto::Message>(&received)) {
      on_message(process, *message);
      save();
      if (process.link) process.link->acted();
      continue;
    }
    // Nothing more will come; what it said until now was acted upon.
    shared_.loop.park(std::move(process.link_source));
    if (const auto* violation = std::get_if<Channel::Violation>(&received)) {
      feed([&](core::Service& s, core::Time now, core::Effects& out) {
        s.on_violation(id, violation->what, now, out);
      });
    } else {
      drop_link(process);
      feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_channel_closed(id, now, out); });
    }
    return;
  }
}

void ServiceRunner::greet(WorkerProcess& process, const proto::Hello& hello) {
  const core::WorkerId id = process.subject.worker;
  dirty_ = true;
  if (hello.protocol_min > proto::protocol_version || hello.protocol_max < proto::protocol_version) {
    const std::string what = "librefork " + hello.library + " speaks another protocol than reforkd";
    feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_violation(id, what, now, out); });
    return;
  }
  const auto& config = service_.config();
  send_to(id, proto::Welcome{proto::protocol_version, config.name, process.subject.slot, id,
                             process.subject.generation,
                             static_cast<std::uint32_t>(config.drain_deadline.count()),
                             static_cast<std::uint32_t>(config.lame_duck.count()),
                             millis_or_none(config.watchdog), millis_or_none(config.request_timeout),
                             config.orphans == core::Orphans::serve ? Then::serve : Then::drain});
}

void ServiceRunner::on_message(WorkerProcess& process, const proto::Message& message) {
  const core::WorkerId id = process.subject.worker;
  std::visit(
      Overloaded{
          [&](const proto::Hello& hello) { greet(process, hello); },
          [&](const proto::Ready&) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(id, now, out); });
          },
          [&](const proto::FailureNote& note) {
            // The replacement first: the record is safe where it is.
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_failure(id, note.id, note.then, now, out);
            });
            collect(process);
          },
          [&](const proto::DrainBegun& begun) {
            drain_begins(id);
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_drain_begun(id, begun.reason, now, out);
            });
          },
          [&](const proto::Disconnect& last) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_disconnect(id, last.deadline, now, out);
            });
          },
          [&](const proto::Crash& crash) {
            feed([&](core::Service& s, core::Time now, core::Effects& out) {
              s.on_crash(id, crash.contained, now, out);
            });
            collect(process);
          },
          [&](const proto::Timeouts&) { watch_.look_after_requests(); },
          [&](const proto::AppMessage& app) { shared_.message(id, app.body); },
          [](const proto::Welcome&) {},
          [](const proto::VerdictGiven&) {},
          [](const proto::DrainOrder&) {},
      },
      message);
}

void ServiceRunner::collect(WorkerProcess& process, bool dead) {
  if (!process.recorder) return;
  const Collected found = shared_.failures.collect(process.subject, process.recorder, dead);
  dirty_ |= found.fresh != 0;
  if (found.terminated) service_.on_terminate_recorded(process.subject.worker);
  if (found.crashed) service_.on_crash_recorded(process.subject.worker);
}

// What is served from now on is what the drain completed.
void ServiceRunner::drain_begins(core::WorkerId worker) {
  WorkerProcess* process = find(worker);
  if (!process || !process->recorder || process->served_before_drain) return;
  if (const auto counters = process->recorder->reader().counters())
    process->served_before_drain = counters->served;
}

void ServiceRunner::send_to(core::WorkerId worker, const proto::Message& message) {
  WorkerProcess* process = find(worker);
  if (!process || !process->link) return;
  const auto type = proto::type_of(message);
  process->told_to_go |= type == proto::MessageType::drain || type == proto::MessageType::verdict;
  if (const auto sent = process->link->send(message);
      !sent && sent.error().code != EPIPE && sent.error().code != ECONNRESET)
    log::warning(process->subject.service + " worker " + std::to_string(worker) + ": " +
                 std::string(base::to_name(proto::type_of(message))) + " not sent: " + sent.error().what);
}

// Of one of the service's processes; what others say means nothing.
void ServiceRunner::on_notification(const os::Notification& notification) {
  const pid_t group = ::getpgid(notification.pid);
  for (const auto& [id, process] : processes_) {
    if (process->subject.pid != notification.pid && process->subject.pid != group) continue;
    const auto& fields = notification.fields;
    const auto is = [&fields](const char* name) {
      const auto it = fields.find(name);
      return it != fields.end() && it->second == "1";
    };
    if (const auto it = fields.find("STATUS"); it != fields.end()) process->status = it->second;
    const core::WorkerId worker = id;
    if (is("WATCHDOG")) watch_.beat(worker);
    if (is("READY"))
      feed([&](core::Service& s, core::Time now, core::Effects& out) { s.on_ready(worker, now, out); });
    if (is("STOPPING"))
      feed([&](core::Service& s, core::Time now, core::Effects& out) {
        s.on_drain_begun(worker, DrainReason::operator_, now, out);
      });
    return;
  }
}

base::Result<void> ServiceRunner::send(core::WorkerId worker, std::string_view json) {
  if (service_.config().ready != core::ReadyBy::library)
    return base::Error{
        EINVAL, "service " + service_.config().name + " does not link librefork: it takes no messages"};
  if (const auto checked = proto::check_app_body(json); !checked)
    return base::Error{EINVAL, checked.error().what};
  const proto::Message message = proto::AppMessage{std::string(json)};
  std::size_t sent = 0;
  for (const auto& [id, process] : processes_) {
    if ((worker != 0 && id != worker) || !process->link) continue;
    if (const auto result = process->link->send(message); !result)
      return base::Error{EIO, "worker " + std::to_string(id) + ": " + result.error().what};
    ++sent;
  }
  if (sent == 0) return base::Error{ENOENT, "no worker there to take a message"};
  return {};
}

}  // namespace refork::supervisor
