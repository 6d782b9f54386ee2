// Alternate stacks: without one a thread that has overflowed its own stack dies unheard. Mapped, not
// allocated, with a guard page; only what a handler touches costs memory.

#include "crash/thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "crash/state.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

namespace refork::crash {

__thread Thread this_thread;

namespace {

// For the handlers and the unwinder, and those of the application that they go on to. What the kernel saves
// of the registers (some KiB, by processor) comes on top.
constexpr std::size_t handler_stack = 64 * 1024;

std::size_t page() noexcept {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

std::size_t stack_size() noexcept {
  static const std::size_t size =
      (handler_stack + ::getauxval(AT_MINSIGSTKSZ) + page() - 1) / page() * page();
  return size;
}

// The stack that we gave this thread; whoever gave it another one meanwhile keeps that.
void free_stack(void* memory) noexcept {
  stack_t now{};
  if (::sigaltstack(nullptr, &now) == 0 && now.ss_sp == static_cast<char*>(memory) + page()) {
    now.ss_flags = SS_DISABLE;
    if (::sigaltstack(&now, nullptr) != 0) return;
  }
  ::munmap(memory, page() + stack_size());
}

pthread_key_t end_of_thread() noexcept {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    ::pthread_key_create(&made, free_stack);
    return made;
  }();
  return key;
}

void give_stack() noexcept {
  stack_t stack{};
  if (::sigaltstack(nullptr, &stack) != 0 || (stack.ss_flags & SS_DISABLE) == 0) return;
  const std::size_t size = page() + stack_size();
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  ::mprotect(memory, page(), PROT_NONE);
  stack = {};
  stack.ss_sp = static_cast<char*>(memory) + page();
  stack.ss_size = stack_size();
  if (::sigaltstack(&stack, nullptr) != 0) {
    ::munmap(memory, size);
    return;
  }
  ::pthread_setspecific(end_of_thread(), memory);
}

}  // namespace

std::uint32_t thread_id() noexcept { return static_cast<std::uint32_t>(::syscall(SYS_gettid)); }

void meet_thread() noexcept {
  this_thread.met = true;
  const int saved = errno;
  give_stack();
  unblock();  // a fault that is blocked ends the process without any handler
  errno = saved;
}

}  // namespace refork::crash
