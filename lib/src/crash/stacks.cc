// Stacks of threads on demand, each written by its own thread in the handler of a signal.

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "crash/crash.h"
#include "crash/state.h"
#include "crash/thread.h"
#include "crash/unwind.h"
#include "domain/active.h"

namespace refork::crash {
namespace {

constexpr std::uint64_t patience_ms = 200;  // with threads that do not answer
constexpr std::size_t most_asked = recorder::thread_count;

struct Asked {
  std::uint32_t threads[most_asked];
  std::size_t count = 0;

  bool add(std::uint32_t thread) noexcept {
    const bool known = std::find(threads, threads + count, thread) != threads + count;
    if (known || count == most_asked) return false;
    threads[count++] = thread;
    return true;
  }
};

std::uint64_t request_here(const recorder::Writer& writer, std::uint32_t thread) noexcept {
  if (this_thread.answers) return this_thread.request;
  std::uint64_t request = 0;
  guarded([&]() noexcept { request = domain::active(nullptr, 0, nullptr); });
  return request != 0 ? request : writer.request_of(thread, true);
}

}  // namespace

void answer_stacks(void* context) noexcept {
  recorder::Writer* const writer = state.writer.load();
  if (writer == nullptr || context == nullptr) return;
  const std::uint32_t thread = thread_id();
  recorder::ThreadSlot* const slot = writer->take_stack(thread);
  if (slot == nullptr) return;
  ::prctl(PR_GET_NAME, slot->name);
  if (const std::uint64_t request = request_here(*writer, thread); request != 0) {
    slot->request = recorder::Writer::index_of_token(request);
    slot->request_state = recorder::Writer::state_of_token(request);
  }
  unwind(*writer, *static_cast<ucontext_t*>(context), slot->frames, recorder::thread_frames,
         slot->frame_count);
  writer->finish_stack(*slot);
}

void tell_stacks(void* context) noexcept {
  recorder::Writer* const writer = state.writer.load();
  if (writer == nullptr) return;
  const std::uint32_t number = writer->want_stacks();
  const std::uint32_t self = thread_id();
  Asked asked;
  std::size_t expected = context != nullptr ? 1 : 0;
  writer->for_each_in_flight([&](std::uint32_t thread) noexcept {
    if (thread != self && asked.add(thread) &&
        ::syscall(SYS_tgkill, ::getpid(), thread, recorder::stacks_signal()) == 0)
      ++expected;
  });
  answer_stacks(context);
  for (std::uint64_t waited = 0; waited < patience_ms && writer->stacks_answered(number) < expected; ++waited)
    sleep_ms(1);
}

}  // namespace refork::crash
