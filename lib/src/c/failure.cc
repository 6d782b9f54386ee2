// What an error handler in C may ask of a failure.
#include "c/error.h"

#include <cerrno>
#include <cstring>

using namespace refork;
using c::unwrap;

namespace {

// The enums of C are those of C++.
static_assert(static_cast<int>(Kind::exception) == REFORK_KIND_EXCEPTION);
static_assert(static_cast<int>(Kind::error) == REFORK_KIND_ERROR);
static_assert(static_cast<int>(Kind::signal) == REFORK_KIND_SIGNAL);
static_assert(static_cast<int>(Kind::terminate) == REFORK_KIND_TERMINATE);
static_assert(static_cast<int>(Kind::hang) == REFORK_KIND_HANG);
static_assert(static_cast<int>(Kind::timeout) == REFORK_KIND_TIMEOUT);
static_assert(static_cast<int>(Kind::deadline) == REFORK_KIND_DEADLINE);
static_assert(static_cast<int>(Kind::oom) == REFORK_KIND_OOM);
static_assert(static_cast<int>(Kind::exit) == REFORK_KIND_EXIT);
static_assert(static_cast<int>(Kind::protocol) == REFORK_KIND_PROTOCOL);
static_assert(static_cast<int>(Kind::boot) == REFORK_KIND_BOOT);
static_assert(static_cast<int>(Kind::handler) == REFORK_KIND_HANDLER);

void tell(const std::string& text, const char** place) {
  if (place) *place = text.c_str();
}

}  // namespace

extern "C" {

refork_kind refork_failure_kind(const refork_failure* failure) {
  return static_cast<refork_kind>(unwrap(failure).kind);
}
const char* refork_failure_type(const refork_failure* failure) { return unwrap(failure).type.c_str(); }
const char* refork_failure_message(const refork_failure* failure) { return unwrap(failure).message.c_str(); }
const char* refork_failure_domain(const refork_failure* failure) { return unwrap(failure).domain.c_str(); }
const char* refork_failure_bound(const refork_failure* failure) { return unwrap(failure).bound.c_str(); }
const char* refork_failure_emitter(const refork_failure* failure) { return unwrap(failure).emitter.c_str(); }
const char* refork_failure_id(const refork_failure* failure) { return unwrap(failure).id.c_str(); }
int refork_failure_thrown(const refork_failure* failure) { return unwrap(failure).thrown ? 1 : 0; }

const char* refork_failure_active_domain(const refork_failure* failure, size_t index) {
  const auto& domains = unwrap(failure).domains;
  return index < domains.size() ? domains[index].c_str() : nullptr;
}

const char* refork_failure_context(const refork_failure* failure, const char* key) {
  for (const auto& [known, value] : unwrap(failure).context)
    if (known == key) return value.c_str();
  return nullptr;
}

int refork_failure_cause(const refork_failure* failure, size_t index, const char** type,
                         const char** message) {
  const auto& causes = unwrap(failure).causes;
  if (index >= causes.size()) return -ENOENT;
  tell(causes[index].type, type);
  tell(causes[index].message, message);
  return 0;
}

size_t refork_failure_depth(const refork_failure* failure) { return unwrap(failure).stack.size(); }

const void* refork_failure_address(const refork_failure* failure, size_t index) {
  const auto& stack = unwrap(failure).stack;
  return index < stack.size() ? stack[index] : nullptr;
}

const refork_failure* refork_failure_original(const refork_failure* failure) {
  const auto& original = unwrap(failure).original;
  return original ? c::wrap(*original) : nullptr;
}
}
