// One thread, a bounded queue to it, and an eventfd back. It knows nothing of what it does.
#include "os/background.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <vector>

#include "base/unique_fd.h"

namespace refork::os {

// The thread holds a reference, too.
struct Background::State {
  const base::UniqueFd wakeup{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Work> waiting;
  std::vector<Done> done;
  bool running = false, stopped = false;
};

namespace {

constexpr std::size_t stack_size = 256 * 1024;

void* call(void* argument) noexcept {
  const std::unique_ptr<std::function<void()>> function(static_cast<std::function<void()>*>(argument));
  (*function)();
  return nullptr;
}

// Detached, with all signals blocked: none is for it.
bool start_thread(std::function<void()> function) {
  sigset_t all, before;
  ::sigfillset(&all);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, stack_size);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  auto argument = std::make_unique<std::function<void()>>(std::move(function));
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const bool started = ::pthread_create(&thread, &attributes, call, argument.get()) == 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::pthread_attr_destroy(&attributes);
  if (started) argument.release();
  return started;
}

}  // namespace

Background::Background() : state_(std::make_shared<State>()) {}

Background::~Background() {
  const std::lock_guard lock(state_->mutex);
  state_->stopped = true;
  state_->waiting.clear();
  state_->done.clear();
  state_->changed.notify_one();
}

int Background::fd() const noexcept { return state_->wakeup.get(); }

bool Background::run(Work work) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->waiting.size() >= max_waiting) return false;
    state_->waiting.push_back(std::move(work));
    state_->changed.notify_one();
    if (state_->running) return true;
    state_->running = true;
  }
  if (start_thread([state = state_] { work_off(state); })) return true;
  const std::lock_guard lock(state_->mutex);
  state_->running = false;
  state_->waiting.clear();
  return false;
}

void Background::work_off(const std::shared_ptr<State>& state) {
  std::unique_lock lock(state->mutex);
  while (true) {
    state->changed.wait(lock, [&] { return state->stopped || !state->waiting.empty(); });
    if (state->stopped) return;
    const Work work = std::move(state->waiting.front());
    state->waiting.pop_front();
    lock.unlock();
    Done done = work();
    lock.lock();
    if (!state->stopped) state->done.push_back(std::move(done));
    ::eventfd_write(state->wakeup.get(), 1);
  }
}

void Background::dispatch() {
  eventfd_t ignored;
  ::eventfd_read(state_->wakeup.get(), &ignored);
  std::vector<Done> done;
  {
    const std::lock_guard lock(state_->mutex);
    done.swap(state_->done);
  }
  for (const auto& call : done) call();
}

}  // namespace refork::os
