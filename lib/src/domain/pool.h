#pragma once

#include <cstddef>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REFORK_NO_POOL
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REFORK_NO_POOL
#endif
#endif

namespace refork::detail {

// A thread's spare blocks for objects of type T, so that making one for each request allocates nothing in the
// steady state. Freed blocks stay with the thread that freed them. Switched off under sanitizers, from which
// it would hide uses after the end.
template <class T>
class Pool {
 public:
  static constexpr std::size_t limit = 64;  // spare blocks a thread
  static constexpr std::align_val_t alignment{alignof(T)};

  static void* take(std::size_t size) {
#ifndef REFORK_NO_POOL
    if (!gone_) {
      Pool& pool = instance();
      if (Block* block = pool.spare_) {
        pool.spare_ = block->next;
        --pool.size_;
        return block;
      }
    }
#endif
    return ::operator new(size, alignment);
  }

  static void give(void* memory) noexcept {
#ifndef REFORK_NO_POOL
    if (!gone_) {
      Pool& pool = instance();
      if (pool.size_ < limit) {
        pool.spare_ = ::new (memory) Block{pool.spare_};
        ++pool.size_;
        return;
      }
    }
#endif
    ::operator delete(memory, alignment);
  }

 private:
  struct Block {
    Block* next;
  };

  ~Pool() {
    gone_ = true;
    while (Block* block = spare_) {
      spare_ = block->next;
      ::operator delete(block, alignment);
    }
  }

  static Pool& instance() noexcept {
    static thread_local Pool pool;
    return pool;
  }

  Block* spare_ = nullptr;
  std::size_t size_ = 0;
  static inline __thread bool gone_ = false;  // the thread is ending; domains may still end after its pool
};

}  // namespace refork::detail
