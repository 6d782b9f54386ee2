// What drives a Worker: its set-up, the loop of its control thread, the messages of reforkd, the times that
// pass. What they mean for the worker's life is in life.cc.

#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <stdexcept>

#include "crash/crash.h"
#include "crash/thread.h"
#include "domain/active.h"
#include "worker/impl.h"
#include "worker/standalone.h"

namespace refork {

using worker::LifeEvent;

namespace {

[[noreturn]] void fail_to_start(const base::Error& error) {
  throw std::runtime_error("refork: " + error.what);
}

bool drains_after_errors(const Worker::Options& options, bool supervised, bool sockets_passed_on) {
  if (supervised || options.standalone == Worker::Standalone::drain) return true;
  return options.standalone == Worker::Standalone::automatic && sockets_passed_on;
}

// Blocks all signals for the thread that is made meanwhile, but those that tell of its own faults, SIGTERM
// (which has a handler, and may be blocked everywhere else), the deadline's and the one that asks for stacks.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t mask;
    sigfillset(&mask);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGTERM,
                             worker::deadline_signal(), recorder::stacks_signal()})
      sigdelset(&mask, signal);
    pthread_sigmask(SIG_SETMASK, &mask, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

worker::Environment Worker::Impl::environment_or_throw() {
  auto environment = worker::take_environment();
  if (!environment) fail_to_start(environment.error());
  return *std::move(environment);
}

recorder::Writer& Worker::Impl::recorder_or_throw(worker::Environment& environment) {
  const auto writer = environment.channel ? recorder::Writer::attach(std::move(environment.recorder))
                                          : recorder::Writer::make_private();
  if (!writer) fail_to_start(writer.error());
  return **writer;
}

worker::Poller Worker::Impl::poller_or_throw() {
  if (worker::process.wake_fd.load() < 0)
    worker::process.wake_fd.store(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  auto poller = worker::Poller::make(worker::process.wake_fd.load());
  if (!poller) fail_to_start(poller.error());
  return *std::move(poller);
}

Worker::Impl::Impl(const Options& options)
    : options_(options),
      environment_(environment_or_throw()),
      writer_(recorder_or_throw(environment_)),
      poller_(poller_or_throw()),
      link_(environment_.channel ? std::make_unique<worker::Link>(std::move(environment_.channel)) : nullptr),
      failures_(writer_, link_ ? worker::FailureLog::To::recorder : worker::FailureLog::To::standard_error,
                options.show_query),
      errors_drain_(drains_after_errors(options, link_ != nullptr, !environment_.listeners.empty())),
      drain_deadline_(options.drain_deadline),
      lame_duck_(options.lame_duck) {
  if (options.show_query) writer_.set_shows_query();
  worker::process.draining.store(false);
  worker::process.terminate.store(false);
  worker::process.beat_every_ms.store(link_ ? worker::beat_unknown : worker::never_beats);
  worker::process.writer.store(&writer_);
  worker::watch_forks(link_ ? link_->fd() : -1);
  worker::catch_sigterm();
  if (link_) {
    poller_.watch_channel(link_->fd());
    post(proto::Hello{proto::protocol_version, proto::protocol_version, REFORK_VERSION});
  }
  watch_crashes();
  domain::set_sink(this);
  if (options_.drive == Drive::thread) start_thread();
}

Worker::Impl::~Impl() {
  domain::set_sink(nullptr);
  finish();
  crash::unwatch();
  worker::watch_forks(-1);
  worker::restore_sigterm();
}

void Worker::Impl::watch_crashes() {
  crash::Setup setup;
  setup.writer = &writer_;
  setup.channel_fd = link_ ? link_->fd() : -1;
  setup.crashed = proto::encode(proto::Crash{false});
  setup.contained = proto::encode(proto::Crash{true});
  setup.show_query = options_.show_query;
  setup.holds = &worker::process.holds;
  setup.wake = worker::wake;
  crash::watch(setup);
  crash::set_limit(drain_deadline_);
  if (options_.contain_faults) crash::contain_faults();
  domain::greet_threads(crash::meet_thread);
}

void Worker::Impl::start_thread() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, control_stack);
  int error = 0;
  {
    const SignalsBlocked blocked;
    const std::lock_guard lock(mutex_);
    error = pthread_create(&thread_, &attributes, control_thread, this);
    thread_running_ = error == 0;
  }
  pthread_attr_destroy(&attributes);
  if (error == 0) return;
  domain::set_sink(nullptr);
  crash::unwatch();
  worker::watch_forks(-1);
  worker::restore_sigterm();
  fail_to_start(base::errno_error("start the worker's control thread", error));
}

void Worker::Impl::stop_thread() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_running_ || pthread_equal(thread_, pthread_self())) return;
    thread_running_ = false;
  }
  worker::wake();
  pthread_join(thread_, nullptr);
}

void* Worker::Impl::control_thread(void* self) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  pthread_setname_np(pthread_self(), "refork");
  crash::meet();
  crash::drives(true);
  const auto over = [&impl] {
    const std::lock_guard lock(impl.mutex_);
    return impl.life_ == worker::Life::finished;
  };
  impl.failures_.warm_up();
  while (!over()) {
    impl.poller_.wait();
    impl.step();
  }
  return nullptr;
}

void Worker::Impl::process() {
  if (options_.drive == Drive::fd && !worker::in_forked_child()) step();
}

void Worker::Impl::step() noexcept {
  if (stepping_.test_and_set())
    return;  // process() inside a callback of process(): nothing is lost, it stays readable
  poller_.clear();
  try {
    if (worker::process.terminate.exchange(false)) drain(DrainReason::operator_);
    if (crash::contained()) begin_drain(DrainReason::error, std::nullopt, options_.exit_error, false);
    if (link_) receive();
    if (link_ && !timeouts_told_ && writer_.has_timeouts()) {
      timeouts_told_ = true;
      link_->post(proto::Timeouts{});
    }
    expire(Clock::now());
  } catch (const std::exception& error) {
    worker::complain(error.what());
  }
  call_out(Caller::driver);
  if (link_) {
    link_->flush();
    poller_.watch_channel_room(link_->fd(), link_->pending());
  }
  set_timer();
  stepping_.clear();
}

void Worker::Impl::receive() {
  for (std::size_t i = 0; i < receive_at_once && !channel_closed_; ++i) {
    const auto received = link_->receive();
    if (std::holds_alternative<proto::Channel::Empty>(received)) return;
    if (const auto* message = std::get_if<proto::Message>(&received)) {
      handle(*message);
    } else if (const auto* violation = std::get_if<proto::Channel::Violation>(&received)) {
      worker::complain("reforkd sent what is no message: " + violation->what);
      primary_lost(options_.exit_requested);
    } else {
      primary_gone();
    }
  }
}

void Worker::Impl::handle(const proto::Message& message) {
  using std::chrono::milliseconds;
  if (const auto* welcome = std::get_if<proto::Welcome>(&message)) return welcomed(*welcome);
  if (const auto* app = std::get_if<proto::AppMessage>(&message)) return keep(app->body);
  if (const auto* order = std::get_if<proto::DrainOrder>(&message)) {
    begin_drain(order->reason, milliseconds(order->deadline_ms), exit_code_for(order->reason), false);
  } else if (const auto* given = std::get_if<proto::VerdictGiven>(&message)) {
    // Whatever it answers: one that came late, or is meant for an earlier error, is as good.
    if (given->verdict == proto::Verdict::drain) {
      begin_drain(DrainReason::error, milliseconds(given->deadline_ms), options_.exit_error, false);
    } else {
      const std::lock_guard lock(mutex_);
      enter(LifeEvent::serve);
    }
  } else {
    const auto name = base::to_name(proto::type_of(message));
    worker::complain("reforkd sent \"" + std::string(name) + "\", which is for a worker to send");
    primary_lost(options_.exit_requested);
  }
}

void Worker::Impl::welcomed(const proto::Welcome& welcome) {
  if (welcome.protocol != proto::protocol_version) {
    worker::complain("reforkd speaks version " + std::to_string(welcome.protocol) +
                     " of the protocol, librefork " + REFORK_VERSION + " version " +
                     std::to_string(proto::protocol_version) + ": install the same release of both");
    return primary_lost(options_.exit_error);
  }
  worker::process.beat_every_ms.store(
      welcome.watchdog_ms == 0 ? worker::never_beats : std::max(1u, welcome.watchdog_ms / beats_in_watchdog));
  as_orphan_ = welcome.orphans;
  crash::set_limit(std::chrono::milliseconds(welcome.drain_deadline_ms));
  const std::lock_guard lock(mutex_);
  drain_deadline_ = std::chrono::milliseconds(welcome.drain_deadline_ms);
  lame_duck_ = std::chrono::milliseconds(welcome.lame_duck_ms);
}

void Worker::Impl::keep(const std::string& body) {
  const std::lock_guard lock(mutex_);
  if (early_.size() < max_early && early_bytes_ + body.size() <= max_early_bytes) {
    early_.push_back(body);
    early_bytes_ += body.size();
  } else if (!std::exchange(early_complained_, true)) {
    worker::complain("application messages are dropped: nobody takes them by on_message");
  }
}

// The channel has ended, as only happens when nobody can come back.
void Worker::Impl::primary_gone() {
  if (as_orphan_ == Then::drain) return primary_lost(options_.exit_requested);
  channel_closed_ = true;
  link_->close();
  poller_.forget_channel(link_->fd());
  worker::complain("reforkd is gone; this worker serves on alone, until SIGTERM");
  const std::lock_guard lock(mutex_);
  enter(LifeEvent::serve);
}

// Nobody can come back: without a primary there is no replacement, and nobody who would stop this process.
void Worker::Impl::primary_lost(int exit_code) {
  channel_closed_ = true;
  link_->close();
  poller_.forget_channel(link_->fd());
  begin_drain(DrainReason::stop, std::nullopt, exit_code, false);
}

void Worker::Impl::expire(Clock::time_point now) {
  bool deadline_passed = false;
  {
    const std::lock_guard lock(mutex_);
    deadline_passed = life_ == worker::Life::draining && now >= drain_.deadline;
    if (verdict_due_ && now >= *verdict_due_) enter(LifeEvent::silence);
  }
  if (deadline_passed) leave_at_deadline();
  for (const auto& note : failures_.flush(now))
    if (link_) link_->post(note);
}

void Worker::Impl::post(const proto::Message& message) noexcept {
  link_->post(message);
  if (link_->pending()) worker::wake();
}

void Worker::Impl::set_timer() noexcept {
  const std::lock_guard lock(mutex_);
  auto due = failures_.flush_due();
  const auto consider = [&due](Clock::time_point time) { due = std::min(due.value_or(time), time); };
  if (verdict_due_) consider(*verdict_due_);
  if (life_ == worker::Life::draining) consider(drain_.deadline);
  if (due == timer_set_) return;
  timer_set_ = due;
  poller_.set_timer(due);
}

void Worker::Impl::ready() {
  if (worker::in_forked_child() || ready_said_.exchange(true)) return;
  if (link_) return post(proto::Ready{});
  worker::notify_manager("READY=1");
  if (environment_.listeners.empty())
    worker::complain(
        "not under reforkd, and no listening sockets were passed on: only one that the program makes itself "
        "serves");
}

bool Worker::Impl::send(std::string_view json) {
  if (!link_ || worker::in_forked_child() || !proto::check_app_body(json)) return false;
  return link_->offer(proto::AppMessage{std::string(json)});
}

}  // namespace refork
