// The public face of the Worker: one a process, and nothing at all in the child of a fork.

#include "refork/worker.hpp"

#include <stdexcept>

#include "crash/crash.h"
#include "crash/thread.h"
#include "domain/sink.h"
#include "worker/impl.h"
#include "worker/process.h"

namespace refork {
namespace {

std::atomic<Worker*> the_worker{nullptr};

// Takes the process's one place; gives it back if the constructor fails after it.
class Place {
 public:
  explicit Place(Worker* worker) {
    Worker* expected = nullptr;
    if (!the_worker.compare_exchange_strong(expected, worker))
      throw std::logic_error("refork: a process has one Worker, and this one has it already");
  }
  ~Place() {
    if (!kept_) the_worker.store(nullptr);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  void keep() noexcept { kept_ = true; }

 private:
  bool kept_ = false;
};

}  // namespace

Worker::Worker() : Worker(Options{}) {}

Worker::Worker(Options options) {
  Place place(this);
  impl_ = std::make_unique<Impl>(options);
  place.keep();
}

Worker::~Worker() {
  // Its thread and its channel are the parent's.
  if (worker::in_forked_child())
    static_cast<void>(impl_.release());
  else
    impl_.reset();
  the_worker.store(nullptr);
}

Worker* Worker::current() noexcept { return worker::in_forked_child() ? nullptr : the_worker.load(); }
bool Worker::supervised() const noexcept { return impl_->supervised(); }
const std::vector<Listener>& Worker::listeners() const noexcept { return impl_->listeners(); }
void Worker::ready() { impl_->ready(); }

Request Worker::begin(std::string_view label) { return begin(label, Domain::current()); }

Request Worker::begin(std::string_view label, const Domain& domain) {
  auto* const writer = worker::process.writer.load(std::memory_order_acquire);
  if (writer == nullptr) return Request();
  crash::meet();
  const auto token = writer->begin(label, domain::number(domain));
  domain::set_request(domain, token);
  return Request(token);
}

Hold Worker::hold() {
  if (worker::process.writer.load(std::memory_order_acquire) == nullptr) return Hold();
  worker::process.holds.fetch_add(1);
  return Hold(true);
}

void Worker::beat() noexcept {
  const auto every = worker::process.beat_every_ms.load(std::memory_order_relaxed);
  if (every == worker::never_beats || every == worker::beat_unknown) return;
  if (auto* const writer = worker::process.writer.load(std::memory_order_acquire)) writer->beat();
}

std::optional<std::chrono::milliseconds> Worker::beat_every() const noexcept {
  const auto every = worker::process.beat_every_ms.load(std::memory_order_relaxed);
  if (every == worker::never_beats || worker::in_forked_child()) return std::nullopt;
  constexpr std::uint32_t ask_again_ms = 50;
  return std::chrono::milliseconds(every == worker::beat_unknown ? ask_again_ms : every);
}

void Worker::prepare_answer(const Request& request, const Hold& hold, int fd,
                            std::string_view bytes) noexcept {
  crash::prepare_answer(request.token_, hold.held_, fd, bytes);
}

void Worker::withdraw_answer() noexcept { crash::withdraw_answer(); }

void Worker::on_pause(std::function<void()> callback) { impl_->on_pause(std::move(callback)); }
void Worker::on_resume(std::function<void()> callback) { impl_->on_resume(std::move(callback)); }
void Worker::on_drain(std::function<void(const Drain&)> callback) { impl_->on_drain(std::move(callback)); }
void Worker::on_drained(std::function<void()> callback) { impl_->on_drained(std::move(callback)); }
void Worker::on_message(std::function<void(std::string_view)> callback) {
  impl_->on_message(std::move(callback));
}

bool Worker::draining() const noexcept { return worker::process.draining.load(std::memory_order_relaxed); }

void Worker::crossed() noexcept {
  if (auto* const writer = worker::process.writer.load(std::memory_order_acquire)) writer->crossed();
}

void Worker::fail(Failure& failure, Then then) noexcept {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  domain::record(failure, then, domain::complete(failure, caller));
}
void Worker::drain(DrainReason reason) { impl_->drain(reason); }
int Worker::finish() noexcept { return impl_->finish(); }
bool Worker::send(std::string_view json) { return impl_->send(json); }
int Worker::fd() const noexcept { return impl_->fd(); }
void Worker::process() { impl_->process(); }

}  // namespace refork
