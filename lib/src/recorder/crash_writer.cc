// The part of a worker's hand that handlers of signals may use, and the beats: one store each into a slot
// that was taken by compare-and-exchange.

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "recorder/writer.h"

namespace refork::recorder {
namespace {

using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;

// This thread's slot among those that beat; none where all were taken, too, so that it is not sought again.
struct Beating {
  BeatSlot* slot;
  const void* writer;  // whose slots were searched
};
__attribute__((tls_model("initial-exec"))) thread_local Beating beating{};

void free_slot(void* slot) noexcept { static_cast<BeatSlot*>(slot)->thread.store(0, memory_order_release); }

// Its destructor runs when a thread ends that has a slot. What it frees stays mapped as long as the process.
pthread_key_t end_of_thread() noexcept {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    ::pthread_key_create(&made, free_slot);
    return made;
  }();
  return key;
}

// A forked child's only thread is none of the worker's.
void forget_beating() noexcept { beating = {}; }

BeatSlot* take_slot(Header& header) noexcept {
  static const int registered = ::pthread_atfork(nullptr, nullptr, forget_beating);
  static_cast<void>(registered);
  const auto thread = static_cast<std::uint32_t>(::syscall(SYS_gettid));
  for (BeatSlot& slot : header.beats) {
    std::uint32_t nobody = 0;
    if (slot.thread.load(memory_order_relaxed) != 0) continue;
    slot.at_ns.store(0, memory_order_relaxed);  // not the beat of who had it before
    if (!slot.thread.compare_exchange_strong(nobody, thread, memory_order_acq_rel)) continue;
    ::pthread_setspecific(end_of_thread(), &slot);
    return &slot;
  }
  return nullptr;
}

template <class T>
T& at(Header* header, std::size_t offset, std::uint32_t index) noexcept {
  return reinterpret_cast<T*>(reinterpret_cast<char*>(header) + offset)[index];
}

}  // namespace

void Writer::beat() noexcept {
  if (beating.writer != this) beating = {take_slot(*header_), this};
  if (beating.slot == nullptr) return;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  beating.slot->at_ns.store(
      static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec),
      memory_order_relaxed);
}

CrashSlot& Writer::crash_slot(std::uint32_t index) const noexcept {
  return at<CrashSlot>(header_, crash_offset, index);
}
ModuleSlot& Writer::module_slot(std::uint32_t index) const noexcept {
  return at<ModuleSlot>(header_, modules_offset, index);
}
ThreadSlot& Writer::thread_slot(std::uint32_t index) const noexcept {
  return at<ThreadSlot>(header_, threads_offset, index);
}

CrashSlot* Writer::take_crash() noexcept {
  for (std::uint32_t i = 0; i < crash_count; ++i) {
    auto none = static_cast<std::uint32_t>(CrashState::none);
    if (CrashSlot& slot = crash_slot(i); slot.state.compare_exchange_strong(
            none, static_cast<std::uint32_t>(CrashState::writing), memory_order_acq_rel))
      return &slot;
  }
  return nullptr;
}

void Writer::set_answers_stacks(bool answers) noexcept {
  header_->answers_stacks.store(answers ? 1 : 0, memory_order_release);
}

std::uint32_t Writer::want_stacks() noexcept {
  return header_->stacks_wanted.fetch_add(1, memory_order_acq_rel) + 1;
}

// A state is twice the number of a demand, and one more once it is answered.
ThreadSlot* Writer::take_stack(std::uint32_t thread) noexcept {
  const std::uint64_t taken = 2 * std::uint64_t{header_->stacks_wanted.load(memory_order_acquire)};
  if (taken == 0) return nullptr;
  for (std::uint32_t i = 0; i < thread_count; ++i)
    if (const ThreadSlot& slot = thread_slot(i);
        slot.state.load(memory_order_acquire) / 2 == taken / 2 && slot.thread == thread)
      return nullptr;
  for (std::uint32_t i = 0; i < thread_count; ++i) {
    ThreadSlot& slot = thread_slot(i);
    std::uint64_t state = slot.state.load(memory_order_relaxed);
    if (state / 2 == taken / 2) continue;
    if (!slot.state.compare_exchange_strong(state, taken, memory_order_acq_rel)) continue;
    slot.thread = thread;
    slot.request = request_count;
    slot.request_state = 0;
    slot.frame_count.store(0, memory_order_relaxed);
    return &slot;
  }
  return nullptr;
}

void Writer::finish_stack(ThreadSlot& slot) noexcept { slot.state.fetch_or(1, memory_order_release); }

std::size_t Writer::stacks_answered(std::uint32_t number) const noexcept {
  std::size_t count = 0;
  for (std::uint32_t i = 0; i < thread_count; ++i)
    if (thread_slot(i).state.load(memory_order_acquire) == 2 * std::uint64_t{number} + 1) ++count;
  return count;
}

std::uint32_t Writer::add_module(std::string_view path, const unsigned char* build_id,
                                 std::size_t build_id_length, std::uint64_t bias) noexcept {
  std::uint32_t index = header_->modules_used.load(memory_order_relaxed);
  do {
    if (index >= module_count) return no_module;
  } while (!header_->modules_used.compare_exchange_weak(index, index + 1, memory_order_relaxed));
  ModuleSlot& slot = module_slot(index);
  slot.bias = bias;
  slot.build_id_length =
      static_cast<std::uint32_t>(build_id_length <= module_build_id_size ? build_id_length : 0);
  if (slot.build_id_length > 0) std::memcpy(slot.build_id, build_id, slot.build_id_length);
  slot.path_length = static_cast<std::uint32_t>(std::min(path.size(), module_path_size));
  std::memcpy(slot.path, path.data(), slot.path_length);
  slot.state.store(1, memory_order_release);
  return index;
}

}  // namespace refork::recorder
