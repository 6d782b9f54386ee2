// What happens in a worker's life: errors, pauses, the drain, the end. Changes of state come from the table
// in life.h; everything the application is told goes through call_out().

#include "worker/life.h"

#include <unistd.h>

#include <cstdio>

#include "crash/crash.h"
#include "worker/impl.h"
#include "worker/standalone.h"

namespace refork {

using worker::Life;
using worker::LifeEvent;

namespace {

// A child that goes on without exec still captures errors, but is nobody's worker.
void tell_of_child(const Failure& failure) noexcept {
  worker::complain("an error in a child of the worker, which nobody records:");
  worker::complain(failure.type);
  worker::complain(failure.message);
}

}  // namespace

bool Worker::Impl::enter(LifeEvent event) {
  const Life before = life_;
  life_ = worker::next(before, event);
  if (life_ == before) return false;
  verdict_due_.reset();
  if (life_ == Life::paused) verdict_due_ = Clock::now() + verdict_wait;
  return true;
}

void Worker::Impl::record(Failure& failure, Then then, std::uint64_t request) noexcept {
  if (worker::in_forked_child()) return tell_of_child(failure);
  // A process that terminates is not idle: it ends by the signal that follows, not as one that has drained.
  if (failure.kind == Kind::terminate) worker::process.holds.fetch_add(1);
  const bool drains = then == Then::drain && errors_drain_;
  if (drains && supervised()) failed();
  auto note = failures_.record(failure, then, request);
  if (note && supervised()) post(*std::move(note));  // moved: memory may have run out
  if (drains && !supervised()) begin_drain(DrainReason::error, std::nullopt, options_.exit_error, false);
  set_timer();
}

void Worker::Impl::failed() {
  {
    const std::lock_guard lock(mutex_);
    if (!enter(LifeEvent::failure)) return;
  }
  call_out(Caller::failing_thread);
}

int Worker::Impl::exit_code_for(DrainReason reason) const noexcept {
  return reason == DrainReason::error ? options_.exit_error : options_.exit_requested;
}

void Worker::Impl::drain(DrainReason reason) {
  if (!worker::in_forked_child()) begin_drain(reason, std::nullopt, exit_code_for(reason), true);
}

// Once: whatever comes later changes neither deadline nor reason nor exit code. `by_itself`: reforkd is to be
// told.
bool Worker::Impl::begin_drain(DrainReason reason, std::optional<std::chrono::milliseconds> within,
                               int exit_code, bool by_itself) {
  {
    const std::lock_guard lock(mutex_);
    if (!enter(LifeEvent::drain)) return false;
    drain_ = {reason, lame_duck_, Clock::now() + within.value_or(drain_deadline_)};
    exit_code_ = exit_code;
    // Before anybody can find the worker idle: who accepts takes a hold first, then asks whether it drains.
    worker::process.draining.store(true);
    worker::arm_second_line(drain_.deadline, link_ ? link_->fd() : -1, options_.exit_deadline);
    if (by_itself && link_) link_->post(proto::DrainBegun{reason});
  }
  writer_.set_draining();
  if (!link_) worker::notify_manager("STOPPING=1");
  set_timer();
  worker::wake();
  return true;
}

bool Worker::Impl::idle() const noexcept {
  return worker::process.holds.load() <= 0 && writer_.in_flight() == 0;
}

Worker::Impl::Step Worker::Impl::next_step() const noexcept {
  if (life_ == Life::finished) return Step::none;
  if (life_ == Life::draining) {
    if (told_ != Told::draining && told_ != Told::drained) return Step::drain;
    // After a contained fault the application cannot end by itself: one of its threads is frozen.
    if (told_ == Told::draining && idle())
      return on_drained_ && !crash::contained() ? Step::drained : Step::leave;
  } else if (worker::accepts(life_) != (told_ == Told::accepting)) {
    return worker::accepts(life_) ? Step::resume : Step::pause;
  }
  return !early_.empty() && on_message_ ? Step::message : Step::none;
}

void Worker::Impl::call_out(Caller caller) noexcept {
  std::unique_lock lock(mutex_);
  while (!calling_) {
    const Step step = next_step();
    if (step == Step::none) return;
    if (caller == Caller::failing_thread && step != Step::pause) return worker::wake();
    calling_ = true;
    caller_ = std::this_thread::get_id();
    perform(step, lock);
    calling_ = false;
    called_.notify_all();
  }
}

void Worker::Impl::perform(Step step, std::unique_lock<std::mutex>& lock) noexcept {
  switch (step) {
    case Step::none:
      return;
    case Step::pause:
      told_ = Told::paused;
      return call(lock, on_pause_);
    case Step::resume:
      told_ = Told::accepting;
      return call(lock, on_resume_);
    case Step::drain:
      told_ = Told::draining;
      return call(lock, on_drain_, Drain(drain_));
    case Step::drained:
      told_ = Told::drained;
      return call(lock, on_drained_);
    case Step::leave: {
      const int exit_code = exit_code_;
      lock.unlock();
      leave(exit_code);
    }
    case Step::message: {
      const std::string body = std::move(early_.front());
      early_.pop_front();
      early_bytes_ -= body.size();
      return call(lock, on_message_, std::string_view(body));
    }
  }
}

template <class Signature, class... Args>
void Worker::Impl::call(std::unique_lock<std::mutex>& lock, Callback<Signature> callback,
                        const Args&... args) noexcept {
  lock.unlock();
  try {
    if (callback) (*callback)(args...);
  } catch (const std::exception& error) {
    worker::complain("a callback of the Worker threw an exception:");
    worker::complain(error.what());
  } catch (...) {
    worker::complain("a callback of the Worker threw an exception");
  }
  callback.reset();
  lock.lock();
}

// What is still to be said before the process ends.
void Worker::Impl::say_goodbye(bool deadline) noexcept {
  for (auto& note : failures_.close())
    if (link_) link_->post(std::move(note));
  if (link_) link_->post(proto::Disconnect{deadline});
}

void Worker::Impl::leave(int exit_code) noexcept {
  if (!crash::contained()) {  // whose thread may hold their locks
    std::fflush(stdout);      // not all files: another thread may sit in a read of one, and hold its lock
    std::fflush(stderr);
  }
  say_goodbye(false);
  end_process(exit_code);
}

void Worker::Impl::end_process(int exit_code) noexcept {
  if (crash::contained()) crash::die();
  _exit(exit_code);
}

// The entries of the requests that are cut stay in the flight recorder: reforkd names them, with the stacks
// of their threads.
void Worker::Impl::leave_at_deadline() noexcept {
  crash::tell_stacks(nullptr);
  say_goodbye(true);
  if (!link_) {
    char text[96];
    std::snprintf(text, sizeof text, "the drain's deadline has passed: %llu requests in flight are cut",
                  static_cast<unsigned long long>(writer_.in_flight()));
    worker::complain(text);
  }
  end_process(options_.exit_deadline);
}

int Worker::Impl::finish() noexcept {
  if (worker::in_forked_child()) return options_.exit_requested;
  bool first = false;
  int exit_code = 0;
  {
    const std::lock_guard lock(mutex_);
    if (life_ == Life::paused || life_ == Life::tainted) exit_code_ = options_.exit_error;
    if (life_ == Life::running) exit_code_ = options_.exit_requested;
    first = enter(LifeEvent::finish);
    exit_code = exit_code_;
  }
  stop_thread();
  if (!first) return exit_code;
  if (!link_) worker::notify_manager("STOPPING=1");
  say_goodbye(false);
  if (crash::contained()) crash::die();
  worker::disarm_second_line();
  return exit_code;
}

}  // namespace refork
