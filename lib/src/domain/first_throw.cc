// A small table of stacks, by exception object. Neither here nor in its callers does anything wait: an entry
// that another thread is using is passed over, and the record then says that it tells of a rethrow.
#include "domain/first_throw.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "domain/walk.h"

namespace refork::detail {
namespace {

constexpr std::size_t buckets = 16, ways = 8;

struct alignas(64) Noted {
  std::atomic<const void*> object{nullptr};
  std::atomic<bool> taken{false};
  Walked walked{};
  std::array<void*, first_throw_frames + machinery_limit> stack;
};

struct Bucket {
  std::atomic<std::uint32_t> next{0};  // the way that is given up for a new one
  std::array<Noted, ways> entries;
};

Bucket table[buckets];

// Exception objects often lie at even distances, so all bits are mixed (the finalizer of MurmurHash3).
Bucket& bucket_of(const void* object) noexcept {
  std::uint64_t bits = reinterpret_cast<std::uintptr_t>(object);
  bits = (bits ^ (bits >> 33)) * 0xff51afd7ed558ccdu;
  bits = (bits ^ (bits >> 33)) * 0xc4ceb9fe1a85ec53u;
  return table[(bits ^ (bits >> 33)) % buckets];
}

Noted* entry_of(Bucket& bucket, const void* object) noexcept {
  for (Noted& entry : bucket.entries)
    if (entry.object.load(std::memory_order_relaxed) == object) return &entry;
  return nullptr;
}

// The use of an entry, if nobody else is using it.
class Use {
 public:
  explicit Use(Noted* entry) noexcept {
    if (entry && !entry->taken.exchange(true, std::memory_order_acquire)) entry_ = entry;
  }
  ~Use() {
    if (entry_) entry_->taken.store(false, std::memory_order_release);
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  explicit operator bool() const noexcept { return entry_ != nullptr; }
  Noted* operator->() const noexcept { return entry_; }

 private:
  Noted* entry_ = nullptr;
};

}  // namespace

void note_throw(const void* object) noexcept {
  Bucket& bucket = bucket_of(object);
  Noted* entry = entry_of(bucket, object);
  if (!entry) entry = entry_of(bucket, nullptr);
  if (!entry) entry = &bucket.entries[bucket.next.fetch_add(1, std::memory_order_relaxed) % ways];
  Use use(entry);
  if (!use) return forget_throw(object);
  use->object.store(object, std::memory_order_relaxed);
  use->walked = walk_to_domain(use->stack.data(), use->stack.size());
}

void forget_throw(const void* object) noexcept {
  if (Noted* entry = entry_of(bucket_of(object), object))
    entry->object.store(nullptr, std::memory_order_relaxed);
}

namespace {

// With a domain: only the whole stack up to there.
std::size_t find(const void* object, void** stack, const std::uintptr_t* domain) noexcept {
  Use use(entry_of(bucket_of(object), object));
  if (!use || use->object.load(std::memory_order_relaxed) != object) return 0;
  if (domain && use->walked.domain != *domain) return 0;
  const std::size_t machinery = count_machinery(use->stack.data(), use->walked.frames);
  const std::size_t found = use->walked.frames - machinery;
  if (domain && found > first_throw_frames) return 0;
  const std::size_t kept = std::min(found, first_throw_frames);
  std::copy_n(use->stack.begin() + machinery, kept, stack);
  return kept;
}

}  // namespace

std::size_t find_throw(const void* object, void** stack) noexcept { return find(object, stack, nullptr); }

std::size_t find_throw_below(const void* object, std::uintptr_t domain, void** stack) noexcept {
  return find(object, stack, &domain);
}

}  // namespace refork::detail
